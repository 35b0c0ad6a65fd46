// Puts pictures into a store until it is killed: node store-writer.js DIRECTORY FLOATS

import { PictureStore } from '../../lib/engine/picture-store.js'

const [directory, floats] = process.argv.slice(2)
const count = Number(floats)
const store = new PictureStore({
  directory: directory!,
  limit: 1e9,
  sizeOf: () => count,
  fingerprint: () => Promise.resolve('model'),
})
process.stdout.write('begun\n')
for (let n = 0; ; n = (n + 1) % 50) {
  store.put(`${n}`, ['projected'], () => [Float32Array.from({ length: count }, (_, i) => n + i / count)])
  await store.settled()
}
