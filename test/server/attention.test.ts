// POST /v1/llava/attention, held against the library and against what the model says in the same server.

import test from 'ava'
import { aboutDemo, answer, demoUrl, post, question, running, type Running } from './running.js'

let here: Running
test.before(async () => {
  here = await running()
})
test.after.always(() => here[Symbol.asyncDispose]())

interface Reply {
  readonly text: string
  readonly grid: { readonly rows: number; readonly columns: number }
  readonly places: { readonly window: number; readonly rows: number; readonly columns: number } | null
  readonly words: readonly {
    readonly text: string
    readonly start: number
    readonly end: number
    readonly logprob: number
    readonly attention: readonly (readonly number[])[]
    readonly occlusion: readonly (readonly number[])[] | null
  }[]
}

const path = '/v1/llava/attention'
const answered = { ...aboutDemo, messages: [...aboutDemo.messages, { role: 'assistant', content: answer }] }

async function ask(body: object): Promise<Reply> {
  const response = await post(here.url + path, body)
  if (response.status !== 200) throw new Error(await response.text())
  return (await response.json()) as Reply
}

test('each word of an answer has the mean attention that the library gives for its tokens', async (t) => {
  const content = [
    { type: 'image' as const, image: demoUrl },
    { type: 'text' as const, text: question },
  ]
  const { text, grid, places, words } = await ask(answered)
  t.is(text, answer)
  t.is(places, null)
  t.deepEqual(
    words.map((word) => word.text),
    words.map(({ start, end }) => answer.slice(start, end)),
  )
  const rocket = words.find((word) => word.text === 'rocket')
  const told = await here.model.chat([{ role: 'user', content }], { logprobs: 0 }).answer
  const token = told.logprobs?.findIndex((one) => one.text.trim() === 'rocket') ?? -1
  const own = await here.model.attentionOf([{ role: 'user', content }], told, token)
  t.deepEqual(grid, own.grid)
  const mean = own.mean()
  t.is(rocket?.attention.flat().length, mean.length)
  for (const [at, share] of (rocket?.attention.flat() ?? []).entries())
    t.true(Math.abs(share - (mean[at] as number)) <= 1e-3 * (mean[at] as number) + 1e-6)
  t.true(Math.abs((rocket?.logprob ?? NaN) - own.logprob) < 1e-3)
  const deep = await ask({ ...answered, layers: [4] })
  t.notDeepEqual(
    deep.words.map(({ attention }) => attention),
    words.map(({ attention }) => attention),
  )
})

test('with occlusion each word has the change that grey places make', async (t) => {
  const { places, words } = await ask({ ...answered, occlusion: true, window: 4 })
  t.deepEqual(places, { window: 4, rows: 3, columns: 3 })
  const change = (text: string) => words.find((word) => word.text === text)?.occlusion?.flat() ?? []
  const lowest = (values: readonly number[]) => values.indexOf(Math.min(...values))
  t.deepEqual([lowest(change('rocket')), lowest(change('cactus')), lowest(change('dog'))], [0, 2, 7]) // where the middle of each is
})

test('what has no answer, no picture, or names what is not there is refused', async (t) => {
  const status = async (body: object) => (await post(here.url + path, body)).status
  t.is(await status(aboutDemo), 400)
  t.is(await status({ ...answered, messages: [...aboutDemo.messages, { role: 'assistant', content: ' ' }] }), 400)
  t.is(await status({ ...answered, picture: 1 }), 400)
  t.is(await status({ ...answered, layers: [99] }), 400)
  t.is(await status({ ...answered, layers: [] }), 400)
  t.is(await status({ ...answered, model: 'other' }), 404)
  const alone = {
    model: 'default',
    messages: [
      { role: 'user', content: 'Hello.' },
      { role: 'assistant', content: 'Hi.' },
    ],
  }
  t.is(await status(alone), 400)
})
