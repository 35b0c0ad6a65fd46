// Every kernel and every op against plain references, on each instruction set this CPU has: the cases of native/testing, one test each.

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { isas } from '../../lib/index.js'

interface TestingAddon {
  /** `sameBelow`: the weaker isa with the same kernels as far as the case meets them. */
  listCases(): readonly { readonly name: string; readonly isa: string; readonly sameBelow?: string }[]
  runCase(name: string, isa: string): { readonly ok: boolean; readonly worstError: number; readonly bound: number; readonly detail: string }
}

/** As for the addon beside it (lib/native-binary.ts): another folder that has build/ in it. */
const root = process.env['LLAVA_NATIVE_PREBUILD'] ?? fileURLToPath(new URL('../../..', import.meta.url))
const addon = createRequire(import.meta.url)(path.join(root, 'build/testing/llava_testing.node')) as TestingAddon
const cases = addon.listCases()

for (const { name, isa } of cases.filter(({ sameBelow }) => sameBelow === undefined)) {
  test(`${isa}: ${name}`, (t) => {
    const { ok, detail } = addon.runCase(name, isa)
    t.true(ok, detail)
  })
}

test('the scalar table, which every CPU runs, is among those tested', (t) => {
  t.true(cases.some(({ isa }) => isa === 'scalar'))
})

test('the isa option knows the name of every table', (t) => {
  const known: readonly string[] = isas
  t.deepEqual([...new Set(cases.map(({ isa }) => isa))].filter((isa) => !known.includes(isa)), [])
})

test('every instruction set runs every case, or has the kernels of a weaker one that does', (t) => {
  const names = new Set(cases.map(({ name }) => name))
  const isas = new Set(cases.map(({ isa }) => isa))
  t.is(cases.length, names.size * isas.size)
  const isRun = new Set(cases.filter(({ sameBelow }) => sameBelow === undefined).map(({ name, isa }) => `${isa}: ${name}`))
  for (const { name, sameBelow } of cases) if (sameBelow !== undefined) t.true(isRun.has(`${sameBelow}: ${name}`))
})

test('a case that is not there is refused', (t) => {
  t.throws(() => addon.runCase('no such case', 'scalar'), { instanceOf: RangeError })
})
