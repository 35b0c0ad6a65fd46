// What ava runs for `npm run test:consumers` and `npm run test:targets`: the package as it is published.

export default {
  files: ['dist/test/consumers/*.test.js'],
  workerThreads: false,
  concurrency: 1,
  timeout: '10m',
}
