// Questions and answers on the chat page.

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { answer, demo, eventually, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, field, openChat, pick, visit, written } from './browser.js'
import { endless } from './endless.js'

test.after.always(closeBrowser)

test('an example is one click away, and its answer tells what it took', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: question }).waitFor()
  await visitor.shoot('welcome')
  await page.getByRole('button', { name: question }).click()
  const first = answers(page).first()
  await first.getByText('tokens/s').waitFor()
  t.true((await first.innerText()).includes(answer))
  t.regex(await first.innerText(), /\d s to the first token\n?.*\d+ tokens\/s\n?.*12 tokens/s)
  await visitor.shoot('answer')
  t.deepEqual(visitor.errors, [])
})

test('answers are asked for with the defaults of the demo, and with what was set after that was set', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  const asked = async (): Promise<unknown> => {
    const [request] = await Promise.all([page.waitForRequest(/completions/), ask(page, 'Hi')])
    await written(page)
    const { temperature, top_p, max_completion_tokens } = request.postDataJSON() as Record<string, unknown>
    return { temperature, top_p, max_completion_tokens }
  }
  t.deepEqual(await asked(), { temperature: 0.2, top_p: 0.7, max_completion_tokens: 512 })
  await page.getByRole('button', { name: 'Settings' }).click()
  await page.getByRole('slider', { name: 'Temperature' }).fill('1')
  await visitor.shoot('settings')
  await page.keyboard.press('Escape')
  await page.reload()
  t.deepEqual(await asked(), { temperature: 1, top_p: 0.7, max_completion_tokens: 512 })
  t.deepEqual(visitor.errors, [])
})

test('an answer that is stopped stays as far as it is, and the server works on it no more', async (t) => {
  await using here = await running()
  endless(here.model)
  await using visitor = await visit(here.url)
  const { page } = visitor
  await ask(page, 'Go on.')
  const first = answers(page).first()
  await first.locator('p.writing').waitFor()
  await visitor.shoot('writing')
  await page.getByRole('button', { name: 'Stop' }).click()
  await first.getByText('Stopped').waitFor()
  const text = await first.innerText()
  await eventually(() => here.server.load.requests === 0)
  await page.reload()
  await openChat(page, 'Go on.')
  await first.getByText('Stopped').waitFor()
  t.is(await first.innerText(), text)
  t.deepEqual(visitor.errors, [])
})

test('what is asked again or edited is another version, which can be gone back to', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await pick(page, [demo])
  await ask(page, question)
  await written(page)
  await ask(page, 'Is there a cat?')
  await written(page)
  t.is(await answers(page).count(), 2)

  await answers(page).first().getByRole('button', { name: 'Another answer' }).click()
  await written(page)
  t.is(await answers(page).count(), 1) // what followed the other answer stands behind that one
  await answers(page).first().getByRole('group', { name: 'Version 2 of 2' }).waitFor()
  await answers(page).first().getByRole('button', { name: 'Previous version' }).click()
  await page.getByText('Is there a cat?').waitFor()
  t.is(await answers(page).count(), 2)

  const asked = page.getByRole('article', { name: 'You' })
  await asked.first().getByRole('button', { name: 'Edit' }).click()
  await page.getByRole('textbox', { name: 'Edit the question' }).fill('Where is the dog?')
  await page.getByRole('button', { name: 'Ask this' }).click()
  await written(page)
  t.is(await answers(page).count(), 1)
  t.regex(await answers(page).first().innerText(), /The dog is at the bottom/) // it still has its picture
  await asked.first().getByRole('group', { name: 'Version 2 of 2' }).waitFor()
  await visitor.shoot('versions')
  await page.reload()
  await openChat(page, question)
  t.regex(await answers(page).first().innerText(), /The dog is at the bottom/)
  await asked.first().getByRole('button', { name: 'Previous version' }).click()
  await page.getByText('Is there a cat?').waitFor()
  t.deepEqual(visitor.errors, [])
})

test('twenty pictures are asked about at once', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  const folder = fileURLToPath(new URL('../../../test/fixtures/pictures/', import.meta.url))
  const files = readdirSync(folder)
    .filter((name) => /\.(?:jpg|png|webp|gif)$/.test(name) && name !== 'cmyk.jpg')
    .map((name) => folder + name)
    .slice(0, 19)
  await pick(page, [demo, ...files])
  const kept = page.getByRole('button', { name: 'Remove this picture' })
  t.is(await kept.count(), new Set(files).size + 1)
  await visitor.shoot('twenty-pictures')
  const [request] = await Promise.all([page.waitForRequest(/completions/), ask(page, question)])
  await written(page)
  const { messages } = request.postDataJSON() as { messages: readonly { content: readonly { type: string }[] }[] }
  t.is(messages[0]?.content.filter(({ type }) => type === 'image_url').length, 20)
  // 20 pictures of 144 positions are more than the small model has
  await answers(page).first().getByText('longer than the model can read').waitFor()
  await visitor.shoot('too-long')
  t.is(await field(page).inputValue(), '')
  t.is(visitor.errors.length, 1)
})
