// Every kernel and every op against plain references, on each instruction set this CPU has: the cases of native/testing,
// one test each. They run one after another in a process, so they are three files.

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

interface TestingAddon {
  /** `sameBelow`: the weaker isa with the same kernels as far as the case meets them. */
  listCases(): readonly { readonly name: string; readonly isa: string; readonly sameBelow?: string }[]
  runCase(
    name: string,
    isa: string,
  ): { readonly ok: boolean; readonly worstError: number; readonly bound: number; readonly detail: string }
}

/** As for the addon beside it (lib/native-binary.ts): another folder that has build/ in it. */
const root = process.env['LLAVA_NATIVE_PREBUILD'] ?? fileURLToPath(new URL('../../../..', import.meta.url))
export const addon = createRequire(import.meta.url)(
  path.join(root, 'build/testing/llava_testing.node'),
) as TestingAddon
export const cases = addon.listCases()

type Part = 'attention' | 'products' | 'kernels'

const partOf = (name: string): Part =>
  name.includes('attention') ? 'attention' : name.includes('linear') ? 'products' : 'kernels'

/** A test for each case of this part. */
export function testCases(part: Part): void {
  for (const { name, isa } of cases.filter(({ sameBelow }) => sameBelow === undefined)) {
    if (partOf(name) !== part) continue
    test(`${isa}: ${name}`, (t) => {
      const { ok, detail } = addon.runCase(name, isa)
      t.true(ok, detail)
    })
  }
}
