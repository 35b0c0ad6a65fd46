// What the page does when a connection, a server or the page itself breaks off.

import test from 'ava'
import { serve } from '../../lib/server/index.js'
import { answer, endless as endlessRequest, eventually, post, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, openChat, visit, written } from './browser.js'
import { endless } from './endless.js'

test.after.always(closeBrowser)

test('an answer that the page was reloaded in is kept as far as it was, and can be asked for again', async (t) => {
  await using here = await running()
  endless(here.model)
  await using visitor = await visit(here.url)
  const { page } = visitor
  await ask(page, 'Go on.')
  const first = answers(page).first()
  await first.getByText(/\w{3}.*\s.*\w/).waitFor()
  await page.waitForTimeout(600) // it is kept every quarter of a second
  const before = await first.innerText()
  await page.reload()
  await openChat(page, 'Go on.')
  await first.getByText('interrupted').waitFor()
  await visitor.shoot('interrupted')
  t.true((await first.innerText()).startsWith(before.trim().slice(0, 5)))
  await eventually(() => here.server.load.requests === 0)
  await first.getByRole('button', { name: 'Another answer' }).click()
  await first.locator('p.writing').waitFor()
  await page.getByRole('button', { name: 'Stop' }).click()
  await first.getByRole('group', { name: 'Version 2 of 2' }).waitFor()
  t.deepEqual(visitor.errors, [])
})

test('a server that ends in mid-answer is said to be gone, and used again once it is back', async (t) => {
  await using here = await running()
  const chat = here.model.chat.bind(here.model)
  endless(here.model)
  await using visitor = await visit(here.url)
  const { page } = visitor
  await ask(page, 'Go on.')
  const first = answers(page).first()
  await first.locator('p.writing').waitFor()
  const port = Number(new URL(here.url).port)
  await here.server.close(AbortSignal.abort())
  await first.getByText(/shutting down|was lost/).waitFor()
  await page.getByText('cannot be reached').waitFor()
  await visitor.shoot('server-gone')
  t.true(await page.getByRole('button', { name: 'Send' }).isDisabled())

  here.model.chat = chat
  await using again = await serve({ port, models: { default: here.model } })
  t.is(again.url, here.url)
  await page.getByText('cannot be reached').waitFor({ state: 'detached' })
  await first.getByRole('button', { name: 'Another answer' }).click()
  await written(page)
  await first.getByText('tokens/s').waitFor()
})

/** Takes the only place of a server until it is told to leave. */
async function occupied(url: string): Promise<() => void> {
  const leave = new AbortController()
  const body = { ...endlessRequest, stream: true }
  const response = await post(`${url}/v1/chat/completions`, body, { signal: leave.signal })
  return () => {
    leave.abort(response)
  }
}

test('an overloaded server is asked again until it has time', async (t) => {
  await using here = await running({ limits: { requests: 1 } })
  const leave = await occupied(here.url)
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: question }).click()
  await page.getByText('The server is busy. Asking again in').waitFor()
  await visitor.shoot('busy')
  leave()
  await answers(page).first().getByText(answer).waitFor()
  t.true(visitor.errors.every((error) => error.includes('429')))
})

test('a page that waits for an overloaded server can be told to stop', async (t) => {
  await using here = await running({ limits: { requests: 1 } })
  const leave = await occupied(here.url)
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: question }).click()
  await page.getByText('The server is busy. Asking again in').waitFor()
  await page.getByRole('button', { name: 'Stop' }).click()
  await answers(page).first().getByText('Stopped').waitFor()
  leave()
  t.pass()
})

test('a server that wants a key is given one', async (t) => {
  await using here = await running({ apiKeys: ['open sesame'] })
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByText('This server asks for a key.').waitFor()
  await visitor.shoot('key')
  await page.getByRole('button', { name: 'Enter a key' }).click()
  await page.getByLabel('API key').fill('sesame')
  await page.getByLabel('API key').press('Enter')
  await page.getByText('The server refused the key.').waitFor()
  await page.getByRole('button', { name: 'Enter a key' }).click()
  await page.getByLabel('API key').fill('open sesame')
  await page.getByLabel('API key').press('Enter')
  await page.getByText('The server refused the key.').waitFor({ state: 'detached' })
  await page.getByRole('button', { name: question }).click()
  await answers(page).first().getByText(answer).waitFor()
  t.true(visitor.errors.every((error) => error.includes('401')))
})

test('pictures that are too large for the server are said to be', async (t) => {
  await using here = await running({ limits: { bodyBytes: 1000 } })
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: question }).click()
  await answers(page).first().getByText('too large for this server').waitFor()
  await visitor.shoot('too-large')
  t.true(visitor.errors.every((error) => error.includes('413') || error.includes('ERR_CONNECTION')))
})

test('on a slow network the page comes, and answers as they are written', async (t) => {
  await using here = await running()
  await using visitor = await visit('about:blank')
  const { page } = visitor
  const tools = await visitor.tools()
  await tools.send('Network.enable')
  const [latency, throughput] = [300, 40_000] // milliseconds, and bytes a second: a poor 3G
  await tools.send('Network.emulateNetworkConditions', {
    ...{ offline: false, latency, downloadThroughput: throughput, uploadThroughput: throughput },
  })
  await page.goto(here.url)
  await page.getByRole('button', { name: question }).click()
  await answers(page).first().getByText(answer).waitFor()
  t.deepEqual(visitor.errors, [])
})
