// The weights of a checkpoint directory, in the first of these that is there:
//   model.safetensors · model.safetensors.index.json and its shards · pytorch_model.bin · pytorch_model.bin.index.json and its shards

import path from 'node:path'
import { readJsonFields, type Fields } from './fields.js'
import { readPytorchFile } from './pytorch.js'
import { readSafetensorsHeader } from './safetensors.js'
import { corrupt } from './model-error.js'
import type { StoredTensor } from './stored-tensor.js'

interface WeightFormat {
  readonly whole: string
  readonly shardName: RegExp
  readonly what: string
  readonly read: (file: string) => Promise<readonly StoredTensor[]>
}

const formats: readonly WeightFormat[] = [
  {
    whole: 'model.safetensors',
    shardName: /^[^./\\\0][^/\\\0]*\.safetensors$/,
    what: 'a safetensors file',
    read: readSafetensorsHeader,
  },
  { whole: 'pytorch_model.bin', shardName: /^[^./\\\0][^/\\\0]*\.bin$/, what: 'a .bin file', read: readPytorchFile },
]

/** Files that make a directory one with weights, the one that is read before the others. */
export const weightEntries: readonly string[] = formats.flatMap(({ whole }) => [whole, indexOf(whole)])

/**
 * The names of the shards in an index of this name, of weightEntries, which may lie in a file of another one; each as
 * often as tensors are in it.
 */
export async function shardNames(name: string, file: string): Promise<readonly string[]> {
  const format = formats.find(({ whole }) => name === indexOf(whole))
  const index = await readJsonFields(file)
  return index === undefined || format === undefined ? [] : [...shardsByTensor(index, format).values()]
}

/** All tensors of a directory with these entries; `undefined` when it has no weights. */
export async function readWeights(
  directory: string,
  names: ReadonlySet<string>,
): Promise<readonly StoredTensor[] | undefined> {
  for (const format of formats) {
    if (names.has(format.whole)) return format.read(path.join(directory, format.whole))
    const index = await readJsonFields(path.join(directory, indexOf(format.whole)))
    if (index !== undefined) return readShards(directory, index, format)
  }
  return undefined
}

function indexOf(whole: string): string {
  return `${whole}.index.json`
}

/** Tensor names and the shards that hold them. */
function shardsByTensor(index: Fields, { shardName, what }: WeightFormat): ReadonlyMap<string, string> {
  const weightMap = index.required('weight_map', index.object('weight_map'))
  const shardOf = (name: string): string => {
    const shard = weightMap.required(name, weightMap.string(name))
    if (!shardName.test(shard)) throw weightMap.mistake(name, `the name of ${what} in this directory`)
    return shard
  }
  return new Map([...weightMap.keys()].map((name) => [name, shardOf(name)]))
}

async function readShards(directory: string, index: Fields, format: WeightFormat): Promise<readonly StoredTensor[]> {
  const shards = new Map<string, ReadonlyMap<string, StoredTensor>>()
  const tensors: StoredTensor[] = []
  for (const [name, shard] of shardsByTensor(index, format)) {
    const stored = shards.get(shard) ?? byName(await format.read(path.join(directory, shard)))
    shards.set(shard, stored)
    const tensor = stored.get(name)
    if (tensor === undefined)
      throw corrupt(path.join(directory, shard), `lacks tensor "${name}", which the index places there`)
    tensors.push(tensor)
  }
  return tensors
}

function byName(tensors: readonly StoredTensor[]): ReadonlyMap<string, StoredTensor> {
  return new Map(tensors.map((tensor) => [tensor.name, tensor]))
}
