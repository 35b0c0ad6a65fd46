// node tools/sanitized-tests.mjs [address|thread]: both addons by clang with its sanitizers, in Node with their runtime preloaded.
//   address  AddressSanitizer and UndefinedBehaviorSanitizer: every kernel and op, whole models, the boundary, handles that come and go
//   thread   ThreadSanitizer: the pool under every op, and the runner: whole models, disposing and exiting in the middle of work
// A finding ends the process that made it, and so fails its tests. Needs dist (npm run build:ts), CMake and Ninja. Installs nothing.

import { buildAddons, runTests, sanitizedBuild } from './cmake-build.mjs'

/** What ava runs of each build. */
const suites = {
  address: [
    { files: ['golden', 'native/boundary', 'native/lifetime', 'native/properties', 'native/odd-offsets'] },
    // the tables that are not sanitized (native/testing/unsanitized.txt) would take more than half of the time
    { files: ['native/conformance/*'], flags: ['--match', '*', '--match', '!avx2-vnni: *', '--match', '!avx512*: *'] },
  ],
  // kernels have one thread, so one table says it
  thread: [
    { files: ['golden'], flags: ['--match', '*', '--match', '!* on scalar'] },
    { files: ['native/lifetime'] },
    { files: ['native/conformance/*'], flags: ['--match', 'avx2: op *', '--match', 'neon: op *'] },
  ],
}

const asked = process.argv[2] === undefined ? Object.keys(suites) : [process.argv[2]]
for (const name of asked) {
  const build = sanitizedBuild(name)
  if (build === undefined) {
    process.exitCode = 1
    continue
  }
  const environment = { ...buildAddons(build.folder, build.compiler, build.options), ...build.environment }
  console.log(`with the ${name} sanitizer:`)
  // ava hears nothing of cases that run one after another in one process until the last is done
  for (const { files, flags = [] } of suites[name])
    if (!runTests(files, environment, ['--timeout=60m', ...flags])) process.exitCode = 1
}
