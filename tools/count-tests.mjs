// node tools/count-tests.mjs LOGS FAILURES: sums what the test runs whose output lies in the folder LOGS counted, and
// prints `N passed, N failed, N skipped`. They are ava's default reports; FAILURES is how many of the commands that
// wrote them ended badly. Where one did, or nothing passed, at least one failure is counted, and then the exit code
// is 1.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

const [logs, failures] = process.argv.slice(2)
const count = { passed: 0, failed: 0, skipped: 0 }

// ava closes a report with lines such as `  41 tests passed`, `  1 test skipped`, `  2 tests failed`, `  1 uncaught
// exception`.
const lines = readdirSync(logs).flatMap((log) => readFileSync(path.join(logs, log), 'utf8').split('\n'))
for (const line of lines) {
  const [, number, verdict] =
    /^\s+(\d+) (?:tests? (passed|failed|skipped)|(?:test )?hooks? failed|uncaught exceptions?|unhandled rejections?)\s*$/.exec(
      line,
    ) ?? []
  if (number !== undefined) count[verdict ?? 'failed'] += Number(number)
}
if (count.failed === 0 && (failures !== '0' || count.passed === 0)) count.failed = 1

console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
process.exitCode = count.failed > 0 ? 1 : 0
