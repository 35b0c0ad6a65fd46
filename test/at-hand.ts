// Programs that some tests ask and that a machine may not have.

import { spawnSync } from 'node:child_process'

/** Whether this call of the program ends well. */
export function isAtHand(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0
}
