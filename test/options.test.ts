import test from 'ava'
import { abortSignal, checkOptions, flag, given, oneOf, stopStrings, wholeNumber } from '../lib/options.js'

const checks = {
  threads: wholeNumber(1, 8),
  isa: oneOf('avx2', 'scalar'),
  fast: flag,
  stop: stopStrings,
  signal: abortSignal,
}

test('a misspelt option is an error that lists the ones there are', (t) => {
  const error = t.throws(
    () => {
      checkOptions('open()', { thread: 2 }, checks)
    },
    { code: 'INVALID_ARGUMENT' },
  )
  t.is(error.message, 'open() has no option `thread`; it has fast, isa, signal, stop, threads')
})

test('a name that every object has is no option either', (t) => {
  t.throws(
    () => {
      checkOptions('open()', { toString: 1 }, checks)
    },
    { code: 'INVALID_ARGUMENT' },
  )
})

test('an option that is undefined counts as not given', (t) => {
  t.notThrows(() => {
    checkOptions('open()', { threads: undefined }, checks)
  })
  t.deepEqual(given({ a: undefined, b: 0 }), { b: 0 })
})

for (const [name, value, message] of [
  ['threads', 2.5, 'expected `threads` to be a whole number in [1, 8], got 2.5'],
  ['threads', '2', 'expected `threads` to be a whole number in [1, 8], got "2"'],
  ['isa', 'sse', "expected `isa` to be one of 'avx2', 'scalar', got \"sse\""],
  ['fast', 1, 'expected `fast` to be true or false, got 1'],
  ['stop', '', 'expected `stop` to be a non-empty string or a list of them, got ""'],
  ['stop', ['a', 1], 'expected `stop` to be a non-empty string or a list of them, got a list of 2'],
  ['signal', {}, 'expected `signal` to be an AbortSignal, got an instance of Object'],
] as const) {
  test(`${name}: ${JSON.stringify(value)} is refused in words`, (t) => {
    const error = t.throws(
      () => {
        checkOptions('open()', { [name]: value }, checks)
      },
      { code: 'INVALID_ARGUMENT' },
    )
    t.is(error.message, message)
  })
}

for (const options of [null, 'fast', [], 3]) {
  test(`options given as ${JSON.stringify(options)} are refused`, (t) => {
    t.throws(
      () => {
        checkOptions('open()', options, checks)
      },
      { code: 'INVALID_ARGUMENT' },
    )
  })
}
