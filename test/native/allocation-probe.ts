// The probe that is preloaded into a process to see its allocations (native/testing/allocation_probe.cc), as its script sees it.

import { fileURLToPath } from 'node:url'

export const probePath = fileURLToPath(new URL('../../../build/testing/allocation_probe.so', import.meta.url))

export interface AllocationProbe {
  /** From now on those allocations count that the library of this name asks for; the bytes of its code, 0 where it is not loaded. */
  watch(library: string): number
  /** The `n`th of them from now on fails; 0: none. */
  fail(n: number): void
  /** How many there were since `fail`. */
  reached(): number
  /** How many of them have not been freed. */
  live(): number
  resetPeak(): void
  /** Bytes that the whole process held at most since `resetPeak`, above what it held then. */
  peak(): number
}

/** In a process with the probe preloaded. */
export function loadProbe(): AllocationProbe {
  const module = { exports: {} }
  process.dlopen(module, probePath)
  return module.exports as AllocationProbe
}
