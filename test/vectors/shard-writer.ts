// Writes vectors of numbers into a directory, each on the disk before the next, until it is done or killed; every
// seventh number fails.
//   node shard-writer.js DIRECTORY COUNT SHARD_SIZE

import { ShardDirectory } from '../../lib/vectors/shard-directory.js'

const [directory = '', count, shardSize] = process.argv.slice(2)

const shards = await ShardDirectory.open(directory, { column: 'image_path', shardSize: Number(shardSize) })
for (let n = 0; n < Number(count); n++) {
  const name = `${n}.png`
  if (shards.has(name) || shards.hasFailed(name)) continue
  if (n % 7 === 6) shards.fail({ path: name, code: 'IMAGE_UNREADABLE', message: `${n}` })
  else await shards.add(name, { shape: [3], data: Float32Array.of(n, n / 2, -n) })
  await shards.flush()
  process.stdout.write(`${n}\n`)
}
await shards.finishShard()
await shards.close()
await shards.tidy()
