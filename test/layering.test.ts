// The house's layering as data: who may include or import whom. Read from the sources, so that a shortcut fails here and not in a review.

import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** native/FOLDER may include files of these folders (its own always). */
const nativeLayers: Readonly<Record<string, readonly string[]>> = {
  common: [],
  ops: ['common'],
  cpu: ['ops', 'common'],
  'cpu/kernels': ['ops', 'common'],
  cuda: ['ops', 'common'],
  image: ['common'],
  model: ['ops', 'common'],
  bench: ['cpu', 'cpu/kernels', 'ops', 'common'], // the CPU's tables: what a product rounds, and the plain kernels
  binding: ['bench', 'model', 'image', 'ops', 'common'],
  testing: ['binding', 'model', 'image', 'cpu', 'cpu/kernels', 'cuda', 'ops', 'common'],
}

/** Files that may reach further than their folder. */
const nativeExceptions: Readonly<Record<string, readonly string[]>> = {
  // the one place that picks a back end
  'native/binding/model_wrap.cc': ['cpu', 'cuda'],
}

/** lib/ROOM may import these rooms (its own always). A room is a folder of lib, or a file at its top. */
const ground = ['errors', 'options', 'progress', 'slices', 'partial-file']
const leaves = ['image', 'prompt', 'tokenizer', 'sampling', 'structured', 'weights']
const libLayers: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  slices: [],
  progress: [],
  machine: [],
  device: ['errors', 'options', 'native'],
  'package-files': [],
  'native-binary': ['package-files', 'errors'],
  half: [],
  'row-norm': [],
  'partial-file': ['errors'],
  'vector-dtype': ['half', 'slices'],
  options: ['errors'],
  native: ['native-binary', 'errors'],
  image: ground,
  tokenizer: ground,
  sampling: ground,
  structured: ground,
  prompt: ground,
  // a checkpoint's vocabulary is read by the tokenizer's own parser: the one step between leaf rooms
  weights: ['tokenizer', ...ground],
  'model-template': ['prompt', 'weights'],
  engine: ['image', 'tokenizer', 'weights', 'native', ...ground],
  hub: ['engine', 'weights', 'package-files', ...ground],
  conversion: ['hub', 'engine', 'image', 'weights', 'native', ...ground],
  benchmark: ['engine', 'weights', 'native', ...ground],
  answers: ['model-template', 'engine', ...leaves, 'native', ...ground],
  // the faces: what people import
  'saved-conversation': ['engine', 'prompt', ...ground],
  conversation: ['saved-conversation', 'answers', 'engine', 'image', 'prompt', ...ground],
  vectors: ground,
  embedding: ['answers', 'engine', 'image', 'vector-dtype', 'row-norm', 'native', ...ground],
  'embedding-source': ['embedding', 'answers', 'engine', 'prompt', ...ground],
  clip: ['device', 'vector-dtype', 'row-norm', 'engine', 'image', 'package-files', 'native', ...ground],
  trace: ['engine', 'prompt', 'sampling', 'weights', 'native', ...ground],
  attention: ['answers', 'engine', 'weights', 'native', ...ground],
  occlusion: ['attention', 'answers', 'engine', 'image', 'weights', 'native', ...ground],
  'inspect-model': ['hub', 'engine', 'model-template', 'prompt', 'weights', ...ground],
  'open-model': ['clip', 'device', 'answers', 'hub', 'engine', 'image', 'weights', 'machine', 'native', ...ground],
  'model-info': ['device', 'answers', 'engine', 'image', 'prompt', 'weights', 'machine', 'native', ...ground],
  llava: [
    'open-model',
    'model-info',
    'conversation',
    'saved-conversation',
    'embedding',
    'embedding-source',
    'trace',
    'attention',
    'occlusion',
    'vector-dtype',
    'answers',
    'benchmark',
    'hub',
    'engine',
    'image',
    'native',
    ...ground,
  ],
  'embed-to-directory': ['llava', 'embedding', 'hub', 'engine', 'image', 'prompt', 'vectors', ...ground],
  index: [
    'llava',
    'embed-to-directory',
    'vector-dtype',
    'vectors',
    'open-model',
    'model-info',
    'conversation',
    'saved-conversation',
    'embedding',
    'clip',
    'trace',
    'attention',
    'occlusion',
    'inspect-model',
    'answers',
    'benchmark',
    'conversion',
    'hub',
    'engine',
    ...leaves,
    'machine',
    'device',
    'native',
    ...ground,
  ],
  cli: ['index', 'server', 'partial-file', 'package-files'],
  server: ['index', 'package-files'],
  worker: ['index'],
}

/** Types alone may cross between leaf rooms: they bind nothing at run time. */
const libTypeLayers: Readonly<Record<string, readonly string[]>> = {
  prompt: ['tokenizer'],
  weights: ['native', 'image'],
  // what native code is asked for is worked out in the room, and asked for by the facade
  image: ['native'],
  // tokens are chosen from what native code gives
  sampling: ['native'],
}

/** Words that belong to some files only. */
const placed: readonly { readonly word: RegExp; readonly allowed: (file: string) => boolean }[] = [
  {
    word: /#\s*include\s*<(?:[a-z]*intrin|arm_neon|arm_sve|simde\/[^>]*)\.h>/,
    allowed: (file) => /^native\/(cpu\/kernels|testing)\//.test(file),
  },
  {
    word: /\b(?:_mm(?:256|512)?_[a-z]\w*|__m(?:128|256|512)[a-z]*|v[a-z]+q?_[fsu](?:8|16|32|64))\b/,
    allowed: (file) => /^native\/(cpu\/kernels|testing)\//.test(file),
  },
  {
    word: /#\s*include\s*[<"](?:napi|node_api|js_native_api)\.h[>"]/,
    allowed: (file) => /^native\/(binding|testing)\//.test(file),
  },
  // device memory is a back end's own
  {
    word: /#\s*include\s*"ops\/device_address\.h"/,
    allowed: (file) => /^native\/(?:(?:cpu|cuda|testing)\/|ops\/dry_backend)/.test(file),
  },
  { word: /<<</, allowed: (file) => file === 'native/cuda/platform.cuh' },
  // CUDA: PTX stands beside its plain twin, the runtime in one file
  {
    word: /\basm(?: volatile)?\(\s*"(?:mma|cp\.|cvt|ldmatrix)/,
    allowed: (file) => /^native\/cuda\/(?:mma|smem|platform)\.cuh$/.test(file),
  },
  {
    word: /\bcuda(?:Malloc|Free|Mem|Stream|Event|Get|Set|Func|Device)\w*\(/,
    allowed: (file) => file === 'native/cuda/device.cu',
  },
  { word: /-ffast-math|#pragma\s+STDC\s+FP_CONTRACT\s+ON/, allowed: () => false },
]

/** Everything a set of sources does wrong, as sentences. `files` maps repository paths to their text. */
function violations(files: ReadonlyMap<string, string>): string[] {
  const found: string[] = []
  for (const [file, text] of files) {
    const code = withoutComments(text)
    if (file.startsWith('native/')) {
      found.push(...includeViolations(file, code))
      for (const { word, allowed } of placed) {
        const match = word.exec(code)
        if (match !== null && !allowed(file)) found.push(`${file} may not hold \`${match[0].trim()}\``)
      }
    } else {
      found.push(...importViolations(file, code))
    }
  }
  return found
}

function includeViolations(file: string, code: string): string[] {
  const layer = layerOf(file)
  const allowed = [layer, ...(nativeLayers[layer] ?? []), ...(nativeExceptions[file] ?? [])]
  // a back end's face to the rest of cpu is its kernel table: cpu and cpu/kernels are one room seen from inside
  if (layer === 'cpu') allowed.push('cpu/kernels')
  return [...code.matchAll(/#\s*include\s*"([^"]+)"/g)]
    .map(([, included]) =>
      layerOf(
        /^[^.]+\//.test(included!) ? `native/${included!}` : path.posix.join(path.posix.dirname(file), included!),
      ),
    )
    .filter((target) => !allowed.includes(target) && target in nativeLayers)
    .map((target) => `${file} (${layer}) may not include ${target}`)
}

function layerOf(file: string): string {
  const folder = path.posix.dirname(file).replace(/^native\//, '')
  return folder.startsWith('cpu/kernels') ? 'cpu/kernels' : folder.split('/')[0]!
}

function importViolations(file: string, code: string): string[] {
  const room = roomOf(file)
  const layer = libLayers[room]
  if (layer === undefined) return [`${file} stands in no known room`]
  return [
    ...code.matchAll(/(?:\b(?:import|export)\s+([^'"`;]*?)\bfrom\s*|\bimport\s*\(?\s*)['"](\.{1,2}\/[^'"]+)['"]/g),
  ]
    .map(([, names, specifier]) => ({
      onlyTypes: bindsOnlyTypes(names),
      target: roomOf(path.posix.join(path.posix.dirname(file), specifier!)),
    }))
    .filter(
      ({ onlyTypes, target }) => ![room, ...layer, ...(onlyTypes ? (libTypeLayers[room] ?? []) : [])].includes(target),
    )
    .map(({ target }) => `${file} (${room}) may not import ${target}`)
}

/** `type X`, `type { X, Y }` or `{ type X, type Y }`. */
function bindsOnlyTypes(names: string | undefined): boolean {
  return names !== undefined && (/^type\b/.test(names) || /^\{\s*(?:type\s[^,}]+,?\s*)+\}\s*$/.test(names))
}

function roomOf(file: string): string {
  const [, top] = file.split('/')
  return top!.replace(/\.[jt]s$/, '')
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1')
}

function sources(folder: string, extension: RegExp): Map<string, string> {
  const entries = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
  const files = entries
    .filter((entry) => extension.test(entry))
    .map((entry) => `${folder}/${entry.replaceAll(path.sep, '/')}`)
  return new Map(files.sort().map((file) => [file, readFileSync(path.join(root, file), 'utf8')]))
}

test('native code includes only what its layer may see, and intrinsics and napi.h stay in their folders', (t) => {
  const files = sources('native', /\.(?:cc|h|cu|cuh|def)$/)
  t.true(files.size > 0)
  t.deepEqual(violations(files), [])
})

test('the rooms of lib import only what stands below them', (t) => {
  const files = sources('lib', /\.ts$/)
  t.true(files.size > 0)
  t.deepEqual(violations(files), [])
})

for (const [file, text] of [
  ['native/common/aligned.h', '#include "ops/args.h"'],
  ['native/model/decoder.cc', '#include "ops/device_address.h"'],
  ['native/bench/linear_op.cc', '#include "ops/device_address.h"'],
  ['native/ops/check.h', '#include "cpu/backend.h"'],
  ['native/model/decoder.cc', '#include "cpu/kernels/table.h"'],
  ['native/model/decoder.cc', '#include "binding/convert.h"'],
  ['native/model/decoder.cc', '#include <napi.h>'],
  ['native/cpu/linear.cc', '#include "model/llava.h"'],
  ['native/image/resize.cc', '#include "ops/args.h"'],
  ['native/image/resize-inl.h', '__m256i sums = _mm256_setzero_si256();'],
  ['native/cpu/linear.cc', '#include <immintrin.h>'],
  ['native/cpu/linear.cc', '__m256 acc_f32x8 = _mm256_setzero_ps();'],
  ['native/cpu/kernels/avx2.cc', '#include "../backend.h"'],
  ['native/binding/addon.cc', '#include "cpu/backend.h"'],
  ['native/cuda/linear.cu', 'linear<<<grid, block>>>(x);'],
  ['lib/tokenizer/tokenizer.ts', "import { decodeImage } from '../image/decode.js'"],
  ['lib/tokenizer/tokenizer.ts', "import type { RgbImage } from '../image/decode.js'"],
  ['lib/weights/gguf.ts', "import { type RgbImage, decodeImage } from '../image/decode.js'"],
  ['lib/llava.ts', "export * from './index.js'"],
  ['lib/image/decode.ts', "import { native } from '../native.js'"],
  ['lib/weights/gguf-split.ts', "import { pullModel } from '../hub/pull.js'"],
  ['lib/weights/model-description.ts', "import { RepositoryCache } from '../hub/cache.js'"],
  ['lib/sampling/sampler.ts', "export { LLaVA } from '../llava.js'"],
  ['lib/llava.ts', "import {\n  main,\n} from './cli/main.js'"],
  ['lib/cli/main.ts', "import { native } from '../native.js'"],
  ['lib/cli/main.ts', "const { native } = await import('../native.js')"],
  ['lib/structured/vocabulary.ts', "import type { Tokenizer } from '../tokenizer/tokenizer.js'"],
  ['lib/utils/misc.ts', 'export const x = 1'],
] as const) {
  test(`${JSON.stringify(text)} in ${file} is a violation`, (t) => {
    t.is(violations(new Map([[file, text]])).length, 1)
  })
}

test('what the layering allows is no violation', (t) => {
  const allowed = new Map([
    [
      'native/model/decoder.cc',
      '#include "ops/backend.h"\n#include "model/config.h"\n#include <vector>\n// never #include <napi.h>',
    ],
    ['native/binding/model_wrap.cc', '#include <napi.h>\n#include "cpu/backend.h"'],
    ['native/cpu/linear.cc', '#include "cpu/kernels/table.h"'],
    ['native/cpu/kernels/avx2.cc', '#include <immintrin.h>\n#include "common/half.h"'],
    ['lib/image/picture-request.ts', "import type { PictureRequest } from '../native.js'"],
    [
      'lib/weights/model-description.ts',
      "import type { TokenizerSpec } from '../tokenizer/spec.js'\nimport { LlavaError } from '../errors.js'",
    ],
    ['lib/weights/config.ts', "import {\n  type Dtype,\n  type ModelConfig,\n} from '../native.js'"],
    [
      'lib/answers/request.ts',
      "import { native } from '../native.js'\nimport { Sampler } from '../sampling/sampler.js'",
    ],
    ['lib/cli/main.ts', "import { LLaVA } from '../index.js'\nimport { Command } from 'commander'"],
  ])
  t.deepEqual(violations(allowed), [])
})

/** Files of lib that import each other in a circle, types included; each circle once, from its first name on. */
function circles(files: ReadonlyMap<string, string>): string[] {
  const imports = new Map(
    [...files].map(([file, text]) => [
      file,
      [...withoutComments(text).matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)['"](\.{1,2}\/[^'"]+)\.js['"]/g)].map(
        ([, specifier]) => `${path.posix.join(path.posix.dirname(file), specifier!)}.ts`,
      ),
    ]),
  )
  const found = new Set<string>()
  const done = new Set<string>()
  const visit = (file: string, trail: readonly string[]): void => {
    const at = trail.indexOf(file)
    if (at >= 0) found.add(trail.slice(at).join(' → '))
    if (at >= 0 || done.has(file)) return
    for (const next of imports.get(file) ?? []) visit(next, [...trail, file])
    done.add(file)
  }
  for (const file of [...files.keys()].sort()) visit(file, [])
  return [...found]
}

test('no files of lib import each other in a circle, nor their types', (t) => {
  t.deepEqual(circles(sources('lib', /\.ts$/)), [])
  const circle = new Map([
    ['lib/a.ts', "import type { B } from './b.js'"],
    ['lib/b.ts', "import { c } from './c.js'"],
    ['lib/c.ts', "export * from './a.js'"],
  ])
  t.deepEqual(circles(circle), ['lib/a.ts → lib/b.ts → lib/c.ts'])
})
