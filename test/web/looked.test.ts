// Where the model looked, on the chat page.

import test from 'ava'
import { demo, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, pick, visit, written } from './browser.js'

test.after.always(closeBrowser)

test('each word of an answer shows what was read for it and, when asked, what it needs', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await pick(page, [demo])
  await ask(page, question)
  await written(page)
  await answers(page).first().getByRole('button', { name: 'Where the model looked' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'cactus' }).click()
  await dialog.getByText('no explanation').waitFor()
  /** The place of the strongest square, in squares from the top left. */
  const strongest = async (name: RegExp): Promise<readonly number[]> => {
    const drawn = await dialog.getByRole('figure').filter({ hasText: name }).locator('svg').innerHTML()
    const values = [...drawn.matchAll(/<rect[^>]*>/g)].map(([square]) =>
      ['fill-opacity', 'x', 'y'].map((attribute) => Number(new RegExp(` ${attribute}="([^"]*)"`).exec(square)?.[1])),
    )
    const [first = []] = values.toSorted(([a = 0], [b = 0]) => b - a)
    return first.slice(1)
  }
  const [column = NaN, row = NaN] = await strongest(/What it read for “cactus”/)
  t.true(column >= 6 && column <= 11 && row <= 6, `${column}, ${row}`) // of twelve each: the top right
  await dialog.getByRole('button', { name: 'Grey one place after another' }).click()
  await dialog.locator('figure svg').nth(1).waitFor()
  t.deepEqual(await strongest(/What “cactus” needs/), [4, 1]) // of six
  await visitor.shoot('looked')
  await dialog.getByRole('button', { name: 'rocket' }).click()
  const [left = NaN, top = NaN] = await strongest(/What “rocket” needs/)
  t.true(left <= 2 && top <= 2, `${left}, ${top}`)
  t.deepEqual(visitor.errors, [])
})

test('an answer about no picture has nothing to show, and a picture of several is chosen', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await ask(page, 'Hi')
  await written(page)
  const look = answers(page).last().getByRole('button', { name: 'Where the model looked' })
  t.is(await look.count(), 0)
  await pick(page, [demo, demo.replace('demo.png', 'card/answers.png')])
  await ask(page, question)
  await written(page)
  await look.click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('group', { name: 'Word of the answer' }).waitFor()
  const first = await dialog.locator('figure img').first().getAttribute('src')
  await dialog.getByRole('button', { name: '2', exact: true }).click()
  await dialog.locator(`figure img:not([src="${first}"])`).first().waitFor()
  t.deepEqual(visitor.errors, [])
})
