// What counts as right in the examination of the default model.

import test from 'ava'
import { isRight, mentioned, named, type Question, type Thing } from '../bench/exam/questions.js'

const thing = (name: string, plural: string, ...synonyms: string[]): Thing => ({
  name,
  plural,
  synonyms,
  kind: 'thing',
})
const things = [
  thing('dog', 'dogs', 'puppy'),
  thing('hot dog', 'hot dogs'),
  thing('orange', 'oranges'),
  thing('peach', 'peaches'),
]

for (const [text, expected] of [
  ['The picture shows a hot dog.', [1]],
  ['A puppy and two peaches.', [0, 3]],
  ['The picture shows an orange dog on the left. The background is orange.', [0]],
  ['The peaches are orange.', [3]],
  ['The picture shows an orange in the middle.', [2]],
  ['Two oranges and a dog.', [0, 2]],
  ['The picture shows an orange, two dogs and an orange animal at the top.', [0, 2]],
  ['The picture shows an orange animal and a dog.', [0]],
  ['A dogma.', []],
] as const) {
  test(`"${text}" names the things ${JSON.stringify(expected)}`, (t) => {
    t.deepEqual(
      [...mentioned(text, things)].sort((a, b) => a - b),
      [...expected],
    )
  })
}

const question = (kind: Question['kind'], accept: readonly string[], inPicture: readonly number[]): Question => ({
  picture: 'a.png',
  kind,
  question: '?',
  accept,
  things: inPicture,
})

test('a short answer is right whatever its case, article or full stop', (t) => {
  for (const answer of ['dog', 'A dog.', ' the Dog'])
    t.true(isRight(question('name', ['dog', 'puppy'], [0]), answer, things))
  for (const answer of ['dogs', 'a cat', '']) t.false(isRight(question('name', ['dog', 'puppy'], [0]), answer, things))
})

test('a description is right when it names nothing that is not there', (t) => {
  const asked = question('describe', [], [0, 3])
  t.true(isRight(asked, 'The picture shows a dog. The background is orange.', things))
  t.false(isRight(asked, 'The picture shows a dog and an orange.', things))
})

const plain = (pattern: string, told = false): Question => ({ ...question('plain', [], [0]), pattern, told })

test('a plain answer is right when it matches the pattern, whatever its case', (t) => {
  t.true(isRight(plain('\\b(dog|puppy)\\b'), 'It is a Puppy.', things))
  t.false(isRight(plain('\\b(dog|puppy)\\b'), 'It is a dogma.', things))
  t.true(
    isRight(
      plain('^I (only know|do not know)'),
      ' I only know drawings of things: ask me what is in the picture.',
      things,
    ),
  )
  t.false(isRight(plain('^I (only know|do not know)'), 'This is a dog.', things))
})

test('a plain description must match, and name nothing that is not there', (t) => {
  t.true(isRight(plain('^The picture shows', true), 'The picture shows a dog.', things))
  t.false(isRight(plain('^The picture shows', true), 'The picture shows a dog and a peach.', things))
  t.false(isRight(plain('^The picture shows', true), 'A dog.', things))
})

test('of what a description names, what is not there is invented', (t) => {
  t.deepEqual(named(question('describe', [], [0, 3]), 'A dog, two oranges and a peach.', things), {
    named: 3,
    invented: 1,
    there: 2,
    found: 2,
  })
})
