// node tools/clang-tests.mjs [VERSION…]: both addons by each clang that is there, or by those named, without a warning,
// and the tests that compare numbers on them. In `npm run test:all` the newer one builds what is sanitized
// (tools/sanitized-tests.mjs).
// GCC's build has the whole suite; here it is what a compiler can get wrong. Needs dist (npm run build:ts), CMake and Ninja. Installs nothing.

import { answers, buildAddons, runTests } from './cmake-build.mjs'

/** The oldest that is supported, and a newer one, unless others are asked for. */
const versions = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [14, 19]

const there = versions.filter((version) => answers(`clang++-${version}`))
if (there.length === 0) {
  const packages = versions.map((version) => `clang-${version}`).join(' or ')
  console.error(`The tests of clang's builds need a clang; on Debian or Ubuntu: apt-get install ${packages}`)
  process.exitCode = 1
}
for (const version of there) {
  const environment = buildAddons(`build/clang-${version}`, `clang++-${version}`)
  console.log(`built by clang ${version}:`)
  if (!runTests(['native/binary', 'native/conformance/*', 'golden', 'native/boundary'], environment))
    process.exitCode = 1
}
