import test from 'ava'
import fc from 'fast-check'
import { PromptLookup } from '../../lib/answers/prompt-lookup.js'

const cycle = [1, 2, 3, 4, 5, 6]

/** A look-up that has seen `cycle` come again and again, so that matches of any length count for something; then `ids`. */
function warm(...ids: readonly number[]): PromptLookup {
  const lookup = new PromptLookup(cycle)
  for (const id of [...new Array<number[]>(6).fill(cycle).flat(), ...ids]) lookup.push(id)
  return lookup
}

test('a text that does not repeat itself has no drafts', (t) => {
  const lookup = new PromptLookup([1, 2, 3])
  for (let id = 4; id < 50; id++) {
    lookup.push(id)
    t.deepEqual(lookup.draft(15), [])
  }
})

test('a text that begins to repeat itself gets drafts of what followed', (t) => {
  const lookup = new PromptLookup(Array.from({ length: 40 }, (_, n) => n))
  const drafts: number[][] = []
  for (let id = 0; id < 20; id++) {
    lookup.push(id)
    drafts.push(lookup.draft(15))
  }
  t.deepEqual(drafts[0], [])
  t.true((drafts[10]?.length ?? 0) > 3)
  for (const [last, draft] of drafts.entries())
    t.deepEqual(
      draft,
      draft.map((_, n) => last + 1 + n),
    )
})

test('what repeats its own end is drafted on and on', (t) => {
  t.deepEqual(warm().draft(15), [...cycle, ...cycle, 1, 2, 3])
  t.deepEqual(warm(7, 7, 7, 7, 7, 7, 7).draft(3), [7, 7, 7])
})

test('the longest match is taken, not a later shorter one', (t) => {
  t.is(warm(20, 21, 22, 30, 9, 21, 22, 40, 20, 21, 22).draft(15)[0], 30)
})

test('of matches of the same length the latest is taken', (t) => {
  t.is(warm(20, 21, 22, 30, 20, 21, 22, 40, 20, 21, 22).draft(15)[0], 40)
})

test('nothing is drafted from a picture on, and no match before one is taken where there is another', (t) => {
  t.deepEqual(warm(20, 21, 22, 23, -1, 20, 21, 22).draft(15), [23])
  t.is(warm(20, 21, 22, 30, 20, 21, 22, -1, 20, 21, 22).draft(15)[0], 30)
})

test('no more is drafted than asked for', (t) => {
  for (const most of [0, 1, 2, 5]) t.true(warm().draft(most).length <= most)
  t.is(warm().draft(3).length, 3)
})

test('drafts that are wrong time and again are given up, and come back when they are right', (t) => {
  const lookup = warm()
  const phrase = [20, 21, 22, 23, 24]
  const wrong = Array.from({ length: 30 }, (_, n) => [...phrase, 100 + n]).flat()
  const lengths = wrong.map((id) => {
    lookup.push(id)
    return id === 24 ? lookup.draft(15).length : 0
  })
  t.true(lengths.slice(0, 60).some((length) => length > 0))
  const rightAgain = [...new Array<number[]>(10).fill(phrase).flat()].map((id) => {
    lookup.push(id)
    return lookup.draft(15).length
  })
  t.true((rightAgain.at(-1) as number) > 3)
})

test('a draft follows an earlier place whose last token is the text’s, and holds tokens only', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 60 }),
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 60 }),
      (prompt, answer) => {
        const lookup = new PromptLookup(prompt)
        const text = [...prompt]
        for (const id of answer) {
          lookup.push(id)
          text.push(id)
          const draft = lookup.draft(7)
          if (draft.length > 7 || draft.some((one) => one < 0)) return false
          const whole = [...text, ...draft]
          const from = text.map((_, n) => n).filter((n) => n > 0 && text[n - 1] === id)
          if (draft.length > 0 && !from.some((n) => draft.every((one, i) => whole[n + i] === one))) return false
        }
        return true
      },
    ),
  )
  t.pass()
})
