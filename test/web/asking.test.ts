// Questions and answers on the chat page.

import test from 'ava'
import { answer, question, running } from '../server/running.js'
import { answers, closeBrowser, visit } from './browser.js'

test.after.always(closeBrowser)

test('an example is one click away, and its answer tells what it took', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await visitor.shoot('welcome')
  await page.getByRole('button', { name: question }).click()
  const first = answers(page).first()
  await first.getByText('tokens/s').waitFor()
  t.true((await first.innerText()).includes(answer))
  t.regex(await first.innerText(), /\d s to the first token\n?.*\d+ tokens\/s\n?.*12 tokens/s)
  await visitor.shoot('answer')
  t.deepEqual(visitor.errors, [])
})
