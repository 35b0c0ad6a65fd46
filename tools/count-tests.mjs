// node tools/count-tests.mjs LOG STATUS: sums what the test runs in LOG counted and prints `N passed, N failed, N skipped`.
// LOG holds ava's default reports; STATUS is the exit status of the commands that wrote it. A run that ended badly, or in which nothing
// passed, counts at least one failure, and then the exit code is 1.

import { readFileSync } from 'node:fs'

const [logPath, status] = process.argv.slice(2)
const count = { passed: 0, failed: 0, skipped: 0 }

// ava closes a report with lines such as `  41 tests passed`, `  1 test skipped`, `  2 tests failed`, `  1 uncaught exception`.
for (const line of readFileSync(logPath, 'utf8').split('\n')) {
  const [, number, verdict] =
    /^\s+(\d+) (?:tests? (passed|failed|skipped)|(?:test )?hooks? failed|uncaught exceptions?|unhandled rejections?)\s*$/.exec(
      line,
    ) ?? []
  if (number !== undefined) count[verdict ?? 'failed'] += Number(number)
}
if (count.failed === 0 && (status !== '0' || count.passed === 0)) count.failed = 1

console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
process.exitCode = count.failed > 0 ? 1 : 0
