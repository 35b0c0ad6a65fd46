// Against llguidance, byte by byte (test/oracle/make_structured_fixture.py): the same texts are whole, and the same bytes may come next, but for
//   what lib/structured leaves out by intent: \/ and \u in strings, exponents of numbers, -0 as an integer;
//   and the space after ':' and ',', which it leaves to the model.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { State } from '../../lib/structured/automaton.js'
import { automatonOf, compiledRegex, compiledSchema } from './acceptance.js'

interface OracleText {
  readonly text: string
  readonly whole: boolean
  /** Before each byte, up to the first that is refused: the bytes that may come, 256 bits in base64. */
  readonly masks: readonly string[]
}

interface OracleCase {
  readonly schema?: unknown
  readonly regex?: string
  readonly texts: readonly OracleText[]
}

const file = fileURLToPath(new URL('../../../test/fixtures/structured/llguidance.json', import.meta.url))
const cases = JSON.parse(readFileSync(file, 'utf8')) as readonly OracleCase[]

/** Bytes that llguidance alone may take, by what stands before them. */
function leftOut(before: string): string {
  if (/(?:^|[^\\])(?:\\\\)*\\$/.test(before)) return 'u/'
  const isInString = before.replaceAll(/\\./g, '').split('"').length % 2 === 0
  if (isInString) return ''
  return before.endsWith('-') ? '0' : 'eE'
}

for (const { schema, regex, texts } of cases) {
  const automaton = automatonOf(regex === undefined ? compiledSchema(schema) : compiledRegex(new RegExp(regex)))
  for (const { text, whole, masks } of texts) {
    test(`${regex ?? JSON.stringify(schema)}: ${text}`, (t) => {
      const bytes = Buffer.from(text)
      let state: State | null = automaton.start ?? null
      for (const [place, mask] of masks.entries()) {
        const before = bytes.subarray(0, place).toString('latin1')
        const theirs = Buffer.from(mask, 'base64')
        const mayTheirs = bytesOf((byte) => ((theirs[byte >> 3] as number) >> (byte & 7)) % 2 === 1)
        const mayOurs = bytesOf((byte) => state !== null && automaton.step(state, byte) !== null)
        const isAfterSeparator = regex === undefined && /[:,]$/.test(before) && mayTheirs === ' '
        if (isAfterSeparator) t.true(mayOurs.includes(' '), before)
        else {
          const [more, less] = [without(mayOurs, mayTheirs), without(mayTheirs, mayOurs)]
          t.is(more, '', JSON.stringify(before))
          t.is(without(less, regex === undefined ? leftOut(before) : ''), '', JSON.stringify(before))
        }
        state = state === null ? null : automaton.step(state, bytes[place] as number)
      }
      t.is(masks.length === bytes.length && (state?.accepting ?? false), whole)
    })
  }
}

function bytesOf(may: (byte: number) => boolean): string {
  return Array.from({ length: 256 }, (_, byte) => (may(byte) ? String.fromCharCode(byte) : '')).join('')
}

function without(characters: string, others: string): string {
  return Array.from(characters)
    .filter((one) => !others.includes(one))
    .join('')
}
