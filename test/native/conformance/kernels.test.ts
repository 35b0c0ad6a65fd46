// The conformance cases of kernels, and of the ops that are neither products nor attention.

import test from 'ava'
import { isas } from '../../../lib/index.js'
import { addon, cases, testCases } from './cases.js'

testCases('kernels')

test('the scalar table, which every CPU runs, is among those tested', (t) => {
  t.true(cases.some(({ isa }) => isa === 'scalar'))
})

test('the isa option knows the name of every table', (t) => {
  const known: readonly string[] = isas
  t.deepEqual(
    [...new Set(cases.map(({ isa }) => isa))].filter((isa) => !known.includes(isa)),
    [],
  )
})

test('every instruction set runs every case, or has the kernels of a weaker one that does', (t) => {
  const names = new Set(cases.map(({ name }) => name))
  const isas = new Set(cases.map(({ isa }) => isa))
  t.is(cases.length, names.size * isas.size)
  const run = new Set(
    cases.filter(({ sameBelow }) => sameBelow === undefined).map(({ name, isa }) => `${isa}: ${name}`),
  )
  for (const { name, sameBelow } of cases) if (sameBelow !== undefined) t.true(run.has(`${sameBelow}: ${name}`))
})

test('a case that is not there is refused', (t) => {
  t.throws(() => addon.runCase('no such case', 'scalar'), { instanceOf: RangeError })
})
