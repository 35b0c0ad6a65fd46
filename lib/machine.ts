// The memory that there is.

import os from 'node:os'

export interface Machine {
  /** Bytes of the machine, or of the container that the process is in. */
  readonly memory: number
  /** What is free of them now. */
  readonly available: number
}

export function machine(): Machine {
  const limit = process.constrainedMemory()
  const memory = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem()
  return { memory, available: Math.min(os.freemem(), memory) }
}
