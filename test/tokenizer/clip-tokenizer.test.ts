import test from 'ava'
import { finish } from '../../lib/slices.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { ClipTokenizer, clipVocabularyFromFiles, clipVocabularyFromJson } from '../../lib/tokenizer/clip-tokenizer.js'
import { clip, clipTexts, tokenizerJson, without } from './vocabularies.js'

const mergesText = `#version: 0.2\n${clip.tokenizer.model.merges.map((pair) => pair.join(' ')).join('\n')}\n`
const vocabulary = clip.tokenizer.model['vocab'] as Readonly<Record<string, number>>
const tokenizer = new ClipTokenizer(new Tokenizer(finish(clipVocabularyFromJson(clip.tokenizer))))

test("CLIP's ids are those of Hugging Face's CLIPTokenizer, cut to 77", (t) => {
  t.true(clipTexts.length > 100)
  t.is(clipTexts.length, clip.ids.length)
  for (const [index, text] of clipTexts.entries()) t.deepEqual([...tokenizer.encode(text)], clip.ids[index], text)
  t.is(tokenizer.encode(clip.long).length, 77)
})

test('vocab.json and merges.txt are the same vocabulary as tokenizer.json', (t) => {
  for (const text of [mergesText, mergesText.replaceAll('\n', '\r\n')]) {
    const fromFiles = new ClipTokenizer(new Tokenizer(finish(clipVocabularyFromFiles(vocabulary, text))))
    for (const words of clipTexts) t.deepEqual(fromFiles.encode(words), tokenizer.encode(words))
  }
})

test('a text too long keeps the end token', (t) => {
  const short = new ClipTokenizer(new Tokenizer(finish(clipVocabularyFromJson(clip.tokenizer))), 5)
  const ids = tokenizer.encode(clip.long)
  t.deepEqual([...short.encode(clip.long)], [...ids.subarray(0, 4), tokenizer.endId])
  t.is(tokenizer.encode(clip.long).at(-1), tokenizer.endId)
  t.deepEqual([...tokenizer.encode('')], [tokenizer.startId, tokenizer.endId])
})

test('case and white space make no difference', (t) => {
  t.deepEqual(tokenizer.encode(' A  Photo\tof a\n\nCAT '), tokenizer.encode('a photo of a cat'))
})

test("CLIP's special tokens written out are text", (t) => {
  const ids = [...tokenizer.encode('a <|endoftext|> b<|startoftext|>')].slice(1, -1)
  t.false(ids.includes(tokenizer.endId) || ids.includes(tokenizer.startId))
})

test("a vocabulary that is not CLIP's is refused, a damaged one too", (t) => {
  t.throws(() => finish(clipVocabularyFromJson(tokenizerJson)), {
    code: 'MODEL_UNSUPPORTED',
    message: /end_of_word_suffix/,
  })
  const endless = without(vocabulary, '<|endoftext|>')
  t.throws(() => new ClipTokenizer(new Tokenizer(finish(clipVocabularyFromFiles(endless, mergesText)))), {
    code: 'MODEL_CORRUPT',
    message: /<\|endoftext\|>/,
  })
  for (const [vocab, merges] of [
    [{}, ''],
    [[], ''],
    [vocabulary, 'a'],
    [vocabulary, 'a zz'],
    [{ ...vocabulary, far: 9_000_000 }, ''],
  ] as const) {
    t.throws(() => finish(clipVocabularyFromFiles(vocab, merges)), { code: 'MODEL_CORRUPT' })
  }
})
