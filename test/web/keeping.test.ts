// What the browser keeps: chats, their pictures, and files of them.

import { readFile, rm, writeFile } from 'node:fs/promises'
import test from 'ava'
import { answer, demo, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, openChat, pick, visit, written } from './browser.js'

test.after.always(closeBrowser)

const countPictures = `new Promise((resolve) => {
  const opening = indexedDB.open('llava')
  opening.onsuccess = () => {
    const count = opening.result.transaction('pictures').objectStore('pictures').getAll()
    count.onsuccess = () => resolve(count.result.map(({ hash, blob }) => [hash, blob.size]))
  }
})`

test('chats are listed, the latest first, with their pictures, until they are deleted', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  for (const asked of [question, 'Where is the dog?']) {
    await pick(page, [demo])
    await ask(page, asked)
    await written(page)
    await page.getByRole('button', { name: 'New chat' }).click()
  }
  t.is((await page.evaluate<unknown[]>(countPictures)).length, 1) // the same bytes are kept once
  await page.reload()
  const chats = page.getByRole('complementary').getByRole('listitem')
  t.deepEqual(
    (await chats.allInnerTexts()).map((text) => text.trim()),
    ['Where is the dog?', question],
  )
  await chats.last().getByRole('button', { name: question, exact: true }).click()
  await answers(page).first().getByText(answer).waitFor()
  t.is(await page.getByRole('button', { name: 'Show the picture: demo.png' }).count(), 1)

  await chats
    .last()
    .getByRole('button', { name: `Actions for ${question}` })
    .click()
  await visitor.shoot('chat-menu')
  await page.getByRole('menuitem', { name: 'Rename' }).click()
  await page.getByRole('textbox', { name: 'Title' }).fill('Rocket')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByRole('button', { name: 'Rocket', exact: true }).waitFor()
  for (const title of ['Rocket', 'Where is the dog?']) {
    await page.getByRole('button', { name: `Actions for ${title}` }).click()
    await page.getByRole('menuitem', { name: 'Delete' }).click()
    await visitor.shoot('delete')
    await page.getByRole('alertdialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByRole('button', { name: title, exact: true }).waitFor({ state: 'detached' })
  }
  t.deepEqual(await page.evaluate(countPictures), [])
  t.deepEqual(visitor.errors, [])
})

test('what is exported is the same again where it is imported', async (t) => {
  await using here = await running()
  await using from = await visit(here.url)
  await pick(from.page, [demo])
  await ask(from.page, question)
  await written(from.page)
  await answers(from.page).first().getByRole('button', { name: 'Another answer' }).click()
  await written(from.page)
  await from.page.getByRole('button', { name: 'Settings' }).click()
  const [download] = await Promise.all([
    from.page.waitForEvent('download'),
    from.page.getByRole('button', { name: 'Export all' }).click(),
  ])
  t.is(download.suggestedFilename(), 'llava-chats.json')
  const file = await download.path()
  const exported = JSON.parse(await readFile(file, 'utf8')) as {
    readonly pictures: readonly { readonly data: string }[]
  }
  t.is(exported.pictures[0]?.data, `data:image/png;base64,${(await readFile(demo)).toString('base64')}`)

  await using to = await visit(here.url)
  await to.page.getByRole('button', { name: 'Settings' }).click()
  const picker = to.page.locator('input[accept*=json]')
  const damaged = `${file}-damaged.json`
  await writeFile(damaged, JSON.stringify(exported).replace('base64,iVBOR', 'base64,iVBOA'))
  await picker.setInputFiles(damaged)
  await to.page.getByText('This file holds no chats').waitFor()
  const copy = `${file}.json`
  await writeFile(copy, JSON.stringify(exported))
  await picker.setInputFiles(copy)
  await to.page.getByText('1 chat imported.').waitFor()
  await openChat(to.page, question)
  await answers(to.page).first().getByText(answer).waitFor()
  await answers(to.page).first().getByRole('group', { name: 'Version 2 of 2' }).waitFor()

  await to.page.getByRole('button', { name: `Actions for ${question}` }).click()
  const [again] = await Promise.all([
    to.page.waitForEvent('download'),
    to.page.getByRole('menuitem', { name: 'Export' }).click(),
  ])
  t.deepEqual(JSON.parse(await readFile(await again.path(), 'utf8')), exported)
  t.deepEqual([...from.errors, ...to.errors], [])
  await Promise.all([rm(damaged), rm(copy)])
})
