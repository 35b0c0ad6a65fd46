// Tokens of an answer as the words that a reader sees: a word may be of several tokens, and a token may hold parts of two.

/** A word of an answer. */
export interface AnswerWord {
  readonly text: string
  /** Where it stands in the text of all tokens, in UTF-16 units: [start, end). */
  readonly start: number
  readonly end: number
  /** Which tokens it is made of, counted from 0. */
  readonly tokens: readonly number[]
}

/**
 * Words as Unicode has them, without punctuation and white space (UAX #29, by Intl.Segmenter, which also knows words
 * that no space parts).
 *
 * @param tokens what each adds to the text, in UTF-8, as `TokenAttention` and `TokenLogprob` have it
 */
export function answerWords(tokens: readonly { readonly bytes: readonly number[] }[]): readonly AnswerWord[] {
  const text = Buffer.from(tokens.flatMap(({ bytes }) => [...bytes])).toString()
  const ends: number[] = [] // of each token, in bytes
  for (const { bytes } of tokens) ends.push((ends.at(-1) ?? 0) + bytes.length)
  const words: AnswerWord[] = []
  let first = 0 // token
  let at = 0 // byte
  for (const { segment, index, isWordLike } of new Intl.Segmenter(undefined, { granularity: 'word' }).segment(text)) {
    const end = at + Buffer.byteLength(segment)
    while (first < ends.length && (ends[first] as number) <= at) first++
    if (isWordLike === true) {
      const own: number[] = []
      for (let token = first; token < ends.length && (token === first || (ends[token - 1] as number) < end); token++)
        own.push(token)
      words.push({ text: segment, start: index, end: index + segment.length, tokens: own })
    }
    at = end
  }
  return words
}
