// What ava runs for `npm run test:web`: the chat page in Chromium.

export default {
  files: ['dist/test/web/*.test.js'],
  workerThreads: false,
  serial: true,
  concurrency: 2,
  timeout: '2m',
}
