// llava look: what it draws and what it tells, of the small model and the picture of the README.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import sharp from 'sharp'
import { llava } from '../command.js'
import { inFolder } from '../in-folder.js'

const demo = fileURLToPath(new URL('../../../models/demo.png', import.meta.url))
const question = 'What is in this picture?'

test('look draws a card for each word, with a square for each patch and for each place that was greyed', async (t) => {
  await inFolder(async (folder) => {
    const svg = path.join(folder, 'look.svg')
    const { code, stdout, stderr } = await llava(['look', demo, question, '--window', '4', '--out', svg])
    t.deepEqual([code, stdout, stderr], [0, 'The picture shows a rocket, a dog and a cactus.\n', ''])
    const drawn = await readFile(svg, 'utf8')
    const cards = drawn.split('class="word"').slice(1)
    t.deepEqual(
      cards.map((card) => /^[^>]*>([^<]*)</.exec(card)?.[1]),
      ['The', 'picture', 'shows', 'a', 'rocket', 'a', 'dog', 'and', 'a', 'cactus'],
    )
    for (const card of cards) t.is(card.match(/<rect x=/g)?.length, 12 * 12 + 3 * 3)
    t.true(drawn.includes('no explanation'))

    const png = path.join(folder, 'look.png')
    await llava(['look', demo, question, '--word', 'Cactus', '--window', '4', '--out', png])
    const { format, width, height } = await sharp(png).metadata()
    t.is(format, 'png')
    t.true(width > 500 && height > 500)
  })
})

test('look --json gives the weights by layer and head, and the changes by place', async (t) => {
  const { code, stdout } = await llava(['look', demo, question, '--word', 'rocket', '--window', '6', '--json'])
  t.is(code, 0)
  const { text, layers, heads, grid, words, window } = JSON.parse(stdout) as {
    readonly text: string
    readonly layers: number
    readonly heads: number
    readonly grid: { readonly rows: number; readonly columns: number }
    readonly words: readonly {
      readonly text: string
      readonly logprob: number
      readonly attention: readonly number[][][][]
      readonly occlusion: readonly number[][]
    }[]
    readonly window: number
  }
  t.is(text, 'The picture shows a rocket, a dog and a cactus.')
  const [word] = words
  t.deepEqual([words.length, word?.text, window], [1, 'rocket', 6])
  const shape: number[] = []
  for (let at: unknown = word?.attention; Array.isArray(at); at = at[0]) shape.push(at.length)
  t.deepEqual(shape, [layers, heads, grid.rows, grid.columns])
  t.deepEqual(
    word?.occlusion.map(({ length }) => length),
    [2, 2],
  )
  t.is(Math.min(...(word?.occlusion.flat() ?? [])), word?.occlusion[0]?.[0] ?? NaN) // the rocket stands at the top left
})
