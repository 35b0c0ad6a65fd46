// Two models side by side.

import test from 'ava'
import { LLaVA } from '../../lib/index.js'
import { serve } from '../../lib/server/index.js'
import { answer, demo, question } from '../server/running.js'
import { ask, closeBrowser, openChat, phone, pick, visit, written } from './browser.js'

test.after.always(closeBrowser)

test('two models answer the same questions side by side', async (t) => {
  await using model = await LLaVA.open(undefined, { threads: 2 })
  await using other = await LLaVA.open(undefined, { threads: 2 })
  await using server = await serve({ port: 0, models: { small: model, another: other } })
  await using visitor = await visit(server.url)
  const { page } = visitor
  await pick(page, [demo])
  await ask(page, question)
  await written(page)
  await page.getByRole('button', { name: 'Compare two models' }).click()
  const [small, another] = [page.getByRole('region', { name: 'small' }), page.getByRole('region', { name: 'another' })]
  await another.getByText(answer).waitFor() // it goes on from what was said
  await ask(page, 'Where is the dog?')
  await written(page)
  for (const column of [small, another]) await column.getByText('The dog is at the bottom').waitFor()
  await visitor.shoot('side-by-side')
  await page.setViewportSize(phone)
  await visitor.shoot('side-by-side-phone')
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.reload()
  await openChat(page, question)
  await another.getByText('The dog is at the bottom').waitFor()
  await small.getByRole('button', { name: 'Close the column of small' }).click()
  await small.waitFor({ state: 'detached' })
  t.is(await page.getByRole('combobox', { name: 'Model' }).inputValue(), 'another')
  await page.getByText('The dog is at the bottom').waitFor()

  // a model of one's choice, from the beginning
  await page.getByRole('button', { name: 'New chat' }).click()
  await page.getByRole('combobox', { name: 'Model' }).selectOption('another')
  const [request] = await Promise.all([page.waitForRequest(/completions/), ask(page, 'Hi')])
  t.is((request.postDataJSON() as { readonly model: string }).model, 'another')
  await written(page)
  t.deepEqual(visitor.errors, [])
})
