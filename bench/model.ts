// npm run bench -- [--shape 7b|13b] [--layers N] [--type Q4_0] [--vision-type F16] [--isa avx2] [--threads 2] [--prompt 512] [--generate 32] [--images 2] [--repeat 7]
// Writes a random model of LLaVA 1.5's shape into a temporary folder, times picture, prefill and decode against this machine's peaks measured in the
// same run, prints JSON lines headed by the CPU's name, and removes the folder. --layers 8 shows the same rates as all layers, in a quarter of the time.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { LLaVA, isas, type Dtype, type Isa } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { decoders } from './shapes.js'
import { writeSyntheticModel } from './synthetic-model.js'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '7b' },
    layers: { type: 'string' },
    type: { type: 'string', default: 'Q4_0' },
    'vision-type': { type: 'string', default: 'F16' },
    isa: { type: 'string', default: 'auto' },
    threads: { type: 'string' },
    prompt: { type: 'string', default: '512' },
    generate: { type: 'string', default: '32' },
    images: { type: 'string', default: '2' },
    repeat: { type: 'string', default: '7' },
  },
})

function oneOf<Name extends string>(name: string, allowed: readonly Name[], what: string): Name {
  const found = allowed.find((one) => one === name)
  if (found === undefined) throw new Error(`${what} ${name}: expected one of ${allowed.join(', ')}`)
  return found
}

const shape = decoders[oneOf(values.shape, Object.keys(decoders) as (keyof typeof decoders)[], '--shape')]
const layers = values.layers === undefined ? shape.layers : Number(values.layers)
const dtype: Dtype = oneOf(values.type, dtypes, '--type')
const visionDtype: Dtype = oneOf(values['vision-type'], dtypes, '--vision-type')
const isa = oneOf<Isa | 'auto'>(values.isa, ['auto', ...isas], '--isa')

const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
try {
  const file = await writeSyntheticModel(directory, { ...shape, layers }, dtype, visionDtype)
  using model = await LLaVA.open(file, { isa, ...(values.threads === undefined ? {} : { threads: Number(values.threads) }) })
  const { device } = model.info()
  console.log(JSON.stringify({ device, shape: values.shape, layers, type: dtype, visionType: visionDtype }))
  const options = { prompt: Number(values.prompt), generate: Number(values.generate), images: Number(values.images), repeat: Number(values.repeat) }
  for await (const line of model.benchmark(options)) console.log(JSON.stringify(line))
} finally {
  await rm(directory, { recursive: true, force: true })
}
