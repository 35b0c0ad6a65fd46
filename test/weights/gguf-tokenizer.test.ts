// A vocabulary written as GGUF keys and read back cuts text into the same ids, whatever kind of file it came from.

import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { finish, finishInSlices } from '../../lib/slices.js'
import { byteAlphabet } from '../../lib/tokenizer/byte-alphabet.js'
import { indexPieces } from '../../lib/tokenizer/piece-index.js'
import { tokenizerFromJson, tokenizerFromSentencePiece } from '../../lib/tokenizer/parse.js'
import type { TokenizerSpec } from '../../lib/tokenizer/spec.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { ggufTokenizer, tokenizerFields } from '../../lib/weights/gguf-tokenizer.js'
import { layoutGguf } from '../../lib/weights/gguf-writer.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { documentOf, expected, sentencePieceModel, tokenizerConfig, variant } from '../tokenizer/vocabularies.js'
import { temporaryFolder } from './tiny-llava.js'

const texts = [...expected.texts, ...expected.specialTexts, ...expected.addedTexts]

/** `spec` by way of a file. */
async function throughGguf(
  t: ExecutionContext,
  spec: TokenizerSpec,
  rows: number,
  exactly = false,
): Promise<TokenizerSpec> {
  const file = path.join(await temporaryFolder(t), 'vocabulary.gguf')
  await writeFile(
    file,
    finish(layoutGguf(new Map(finish(tokenizerFields(spec, rows, exactly, spec.eosIds))), [])).header,
  )
  return finish(ggufTokenizer(file, (await readGgufHeader(file)).metadata))
}

function checkSameIds(t: ExecutionContext, actual: TokenizerSpec, original: TokenizerSpec): void {
  const [after, before] = [new Tokenizer(actual), new Tokenizer(original)]
  for (const text of texts) {
    for (const parseSpecial of [false, true]) {
      const ids = before.encode(text, { parseSpecial })
      t.deepEqual(after.encode(text, { parseSpecial }), ids, JSON.stringify(text))
      t.is(after.decode(ids, { skipSpecial: false }), before.decode(ids, { skipSpecial: false }))
    }
  }
}

for (const name of Object.keys(expected.variants)) {
  test(`tokenizer.json, variant ${name}, gives the same ids from a GGUF`, async (t) => {
    const spec = finish(tokenizerFromJson(documentOf(variant(name)), tokenizerConfig))
    checkSameIds(t, await throughGguf(t, spec, spec.pieces.length), spec)
  })
}

for (const legacy of [true, false]) {
  test(`tokenizer.model with legacy ${legacy} gives the same ids from a GGUF`, async (t) => {
    const spec = finish(tokenizerFromSentencePiece(sentencePieceModel, { legacy }))
    checkSameIds(t, await throughGguf(t, spec, spec.pieces.length), spec)
  })
}

test('rows without a piece get one that is never produced', async (t) => {
  const spec = finish(tokenizerFromSentencePiece(sentencePieceModel))
  const count = spec.pieces.length
  const padded = await throughGguf(t, spec, count + 3)
  t.deepEqual(padded.pieces.slice(count), [`[PAD${count}]`, `[PAD${count + 1}]`, `[PAD${count + 2}]`])
  t.is(new Tokenizer(padded).vocabSize, new Tokenizer(spec).vocabSize)
  checkSameIds(t, padded, spec)
})

test('pieces beyond the rows stay, unless there may only be as many as rows', async (t) => {
  const spec = finish(tokenizerFromJson(documentOf(variant(Object.keys(expected.variants)[0]!)), tokenizerConfig))
  const rows = spec.pieces.length - 1
  t.is((await throughGguf(t, spec, rows)).pieces.length, spec.pieces.length)
  t.is((await throughGguf(t, spec, rows, true)).pieces.length, rows)
})

/** Byte-level BPE with a few merges, and a special token. */
function byteLevelJson(regex: string): unknown {
  const pieces = [...byteAlphabet, 'he', 'll', 'hell', 'hello', 'Ġw', '12']
  return {
    added_tokens: [
      {
        id: pieces.length,
        content: '<|eot_id|>',
        special: true,
        normalized: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
      },
    ],
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    model: {
      type: 'BPE',
      ignore_merges: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: [
        ['h', 'e'],
        ['l', 'l'],
        ['he', 'll'],
        ['hell', 'o'],
        ['Ġ', 'w'],
        ['1', '2'],
      ],
    },
  }
}

const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

test('byte-level BPE gives the same ids from a GGUF, and goes by the name that others know it by', async (t) => {
  const spec = finish(tokenizerFromJson(byteLevelJson(llama3)))
  const pre = new Map(finish(tokenizerFields(spec, spec.pieces.length, false, []))).get('tokenizer.ggml.pre')
  t.deepEqual(pre, ['string', 'llama3'])
  const back = await throughGguf(t, spec, spec.pieces.length)
  t.deepEqual(back.byteLevel, spec.byteLevel)
  checkSameIds(t, back, spec)
})

test('a way of cutting words that has no name is described in the file', async (t) => {
  const spec = finish(tokenizerFromJson(byteLevelJson(String.raw`\p{L}|\p{N}{1,2}|\s`)))
  const back = await throughGguf(t, spec, spec.pieces.length)
  t.deepEqual(back.byteLevel, spec.byteLevel)
  checkSameIds(t, back, spec)
})

test('scores derived from merges put the earlier merge first', (t) => {
  const spec = finish(tokenizerFromJson(documentOf(variant(Object.keys(expected.variants)[0]!)), tokenizerConfig))
  const scores = new Map(finish(tokenizerFields(spec, spec.pieces.length, false, []))).get(
    'tokenizer.ggml.scores',
  )?.[1] as readonly number[]
  const ids = [...spec.merges!.ids]
  const firstRanks = ids.map((id) => ids.indexOf(id))
  for (const [rank, id] of ids.entries()) t.is(scores[id]! + firstRanks[rank]!, 0)
})

for (const [what, change] of Object.entries({
  'a prefix rule that is none': ['llava.tokenizer.prefix_space', ['string', 'sometimes']],
  'ids and contents of different number': ['llava.tokenizer.added_token_ids', ['i32s', [1]]],
  'an id beyond the vocabulary': ['llava.tokenizer.added_token_ids', ['i32s', [1, 2, 1_000_000]]],
  'flags of another type': ['llava.tokenizer.added_token_flags', ['string', 'x']],
  'a flag that is a number': ['llava.tokenizer.byte_fallback', ['u32', 1]],
} as const)) {
  test(`keys that lie are MODEL_CORRUPT: ${what}`, async (t) => {
    const spec = finish(tokenizerFromSentencePiece(sentencePieceModel))
    t.is(spec.addedTokens.length, 3)
    const file = path.join(await temporaryFolder(t), 'vocabulary.gguf')
    await writeFile(
      file,
      finish(layoutGguf(new Map([...finish(tokenizerFields(spec, spec.pieces.length, false, [])), change]), [])).header,
    )
    const { metadata } = await readGgufHeader(file)
    t.throws(() => finish(ggufTokenizer(file, metadata)), { code: 'MODEL_CORRUPT' })
  })
}

test.serial('a long vocabulary is written and read in slices, between which others have their turn', async (t) => {
  const pieces = [...byteAlphabet, ...Array.from({ length: 128_000 }, (_, n) => `<${n}>`)]
  const merges = Array.from({ length: 100_000 }, (_, n) => `${pieces[256 + n] as string} `.repeat(2).trimEnd())
  const doubled = merges.map((merge) => merge.replace(' ', ''))
  const vocab = Object.fromEntries([...pieces, ...doubled].map((piece, id) => [piece, id]))
  const document = {
    ...(byteLevelJson(String.raw`\p{L}+`) as object),
    added_tokens: [],
    model: { type: 'BPE', vocab, merges },
  }
  const file = path.join(await temporaryFolder(t), 'vocabulary.gguf')
  let turns = 0
  const counter = setInterval(() => turns++, 0)
  const each: number[] = []
  const turnsOf = async <T>(work: () => Promise<T>): Promise<T> => {
    const before = turns
    const result = await work()
    each.push(turns - before)
    return result
  }
  const spec = await turnsOf(() => finishInSlices(tokenizerFromJson(document)))
  const fields = await turnsOf(() => finishInSlices(tokenizerFields(spec, spec.pieces.length, false, [])))
  const { header } = await turnsOf(() => finishInSlices(layoutGguf(new Map(fields), [])))
  await writeFile(file, header)
  const { metadata } = await turnsOf(() => readGgufHeader(file))
  const read = await turnsOf(() => finishInSlices(ggufTokenizer(file, metadata)))
  await turnsOf(() => finishInSlices(indexPieces(read)))
  clearInterval(counter)
  t.true(
    each.every((count) => count >= 2),
    `turns: ${each.join(', ')}`,
  )
  t.deepEqual(read.merges?.ids, spec.merges?.ids)
})
