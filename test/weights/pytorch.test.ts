import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { readPytorchFile } from '../../lib/weights/pytorch.js'
import type { StoredTensor } from '../../lib/weights/stored-tensor.js'
import { u32 } from './gguf-file.js'
import { dict, emptyDict, emptyTuple, global, int, long, mark, none, orderedDict, pickle, reduce, setItems, stop, tensor, text, torchEntries, torchFile, tuple, zipFile } from './pytorch-file.js'
import { temporaryFolder } from './tiny-llava.js'

async function read(t: ExecutionContext, bytes: Buffer): Promise<readonly StoredTensor[]> {
  const file = path.join(await temporaryFolder(t), 'pytorch_model.bin')
  await writeFile(file, bytes)
  return readPytorchFile(file)
}

const values = Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
const one = pickle(dict({ w: tensor() }))

test('a tensor is the range of the file that holds its values', async (t) => {
  const bytes = torchFile(one, { 0: values })
  const [stored] = await read(t, bytes)
  t.like(stored, { name: 'w', dtype: 'F32', shape: [2, 3], nbytes: 24, offset: bytes.indexOf(values) })
})

test('an archive with zip64 numbers and a comment is read', async (t) => {
  const bytes = zipFile({ entries: torchEntries(one, { 0: values }), zip64: true, comment: 'made by hand' })
  t.like((await read(t, bytes))[0], { offset: bytes.indexOf(values), nbytes: 24 })
})

test('tensors may share a storage, each from its own offset', async (t) => {
  const bytes = torchFile(pickle(dict({ all: tensor(), end: tensor({ elements: 6, shape: [2], offset: int(4) }), scalar: tensor({ elements: 6, shape: [] }) })), { 0: values })
  const start = bytes.indexOf(values)
  t.deepEqual(
    (await read(t, bytes)).map(({ name, shape, offset, nbytes }) => [name, shape, offset - start, nbytes]),
    [
      ['all', [2, 3], 0, 24],
      ['end', [2], 16, 8],
      ['scalar', [], 0, 4],
    ],
  )
})

test('every storage type of numbers is known by its size', async (t) => {
  const types = { FloatStorage: ['F32', 4], HalfStorage: ['F16', 2], BFloat16Storage: ['BF16', 2], DoubleStorage: ['F64', 8], LongStorage: ['I64', 8], IntStorage: ['I32', 4], ShortStorage: ['I16', 2], CharStorage: ['I8', 1], ByteStorage: ['U8', 1], BoolStorage: ['BOOL', 1] } as const
  for (const [storage, [dtype, size]] of Object.entries(types)) {
    t.like((await read(t, torchFile(pickle(dict({ w: tensor({ storage }) })), { 0: Buffer.alloc(6 * size) })))[0], { dtype, nbytes: 6 * size })
  }
})

test('an OrderedDict with torch’s _metadata, and a dictionary under `state_dict`, are read', async (t) => {
  const items = Buffer.concat([mark, text('w'), tensor(), setItems])
  const metadata = dict({ _metadata: Buffer.concat([orderedDict, mark, text(''), dict({ version: int(1) }), setItems]) })
  t.is((await read(t, torchFile(pickle(orderedDict, items, metadata, Buffer.from('b')))))[0]?.name, 'w')
  t.is((await read(t, torchFile(pickle(dict({ epoch: int(3), state_dict: dict({ w: tensor() }) })))))[0]?.name, 'w')
})

test('strides of a dimension with one element do not matter', async (t) => {
  t.is((await read(t, torchFile(pickle(dict({ w: tensor({ shape: [1, 6], strides: [1, 1] }) })))))[0]?.nbytes, 24)
})

// ---- pickles that would run code, or fill the memory, elsewhere

const call = (module: string, name: string, ...parameters: readonly Buffer[]): Buffer => Buffer.concat([global(module, name), tuple(...parameters), reduce])
const raw = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

const forbidden: readonly (readonly [name: string, program: Buffer])[] = [
  ['os.system', pickle(call('os', 'system', text('true')))],
  ['posix.system', pickle(dict({ w: call('posix', 'system', text('true')) }))],
  ['builtins.eval', pickle(call('builtins', 'eval', text('1')))],
  ['__builtin__.exec', pickle(call('__builtin__', 'exec', text('1')))],
  ['builtins.getattr', pickle(call('builtins', 'getattr', global('torch', 'FloatStorage'), text('__init__')))],
  ['subprocess.Popen', pickle(call('subprocess', 'Popen', text('true')))],
  ['importlib.import_module', pickle(call('importlib', 'import_module', text('os')))],
  ['torch.load', pickle(call('torch', 'load', text('/etc/passwd')))],
  ['torch.hub.load', pickle(call('torch.hub', 'load', text('a/b')))],
  ['torch.jit.load', pickle(call('torch.jit', 'load', text('x')))],
  ['numpy.core.multiarray._reconstruct', pickle(call('numpy.core.multiarray', '_reconstruct', none))],
  ['torch._utils._rebuild_tensor_v3', pickle(call('torch._utils', '_rebuild_tensor_v3', none))],
  ['torch._utils._rebuild_parameter', pickle(dict({ w: call('torch._utils', '_rebuild_parameter', tensor(), Buffer.from([0x88]), orderedDict) }))],
  ['torch._utils._rebuild_wrapper_subclass', pickle(call('torch._utils', '_rebuild_wrapper_subclass', none))],
  ['torch.storage.UntypedStorage', pickle(global('torch.storage', 'UntypedStorage'))],
  ['torch.FloatStorage.__init__', pickle(global('torch', 'FloatStorage.__init__'))],
  ['collections.OrderedDict.update', pickle(global('collections', 'OrderedDict.update'))],
  ['collections.Counter', pickle(call('collections', 'Counter', none))],
  ['functools.partial', pickle(call('functools', 'partial', none))],
  ['codecs.encode', pickle(call('_codecs', 'encode', text('x')))],
]

for (const [name, program] of forbidden) {
  test(`a pickle that asks for ${name} fails closed and names it`, async (t) => {
    const message = new RegExp(`asks for "_?${name.replaceAll(/[.$]/g, '\\$&')}".*refused`)
    await t.throwsAsync(read(t, torchFile(program)), { instanceOf: LlavaError, code: 'MODEL_UNSUPPORTED', message })
  })
}

const instructions: readonly (readonly [what: string, program: Buffer])[] = [
  ['INST', pickle(mark, Buffer.from('ios\nsystem\n'))],
  ['OBJ', pickle(mark, orderedDict, Buffer.from('o'))],
  ['NEWOBJ', pickle(global('collections', 'OrderedDict'), emptyTuple, raw('81'))],
  ['NEWOBJ_EX', pickle(global('collections', 'OrderedDict'), emptyTuple, emptyDict, raw('92'))],
  ['STACK_GLOBAL', pickle(text('os'), text('system'), raw('93'))],
  ['EXT1', pickle(raw('82 01'))],
  ['PERSID', pickle(Buffer.from('P0\n'))],
  ['DUP', pickle(none, Buffer.from('2'))],
  ['FRAME', pickle(raw('95 00 00 00 00 00 00 00 00'))],
  ['BYTEARRAY8', pickle(raw('96 ff ff ff ff ff ff ff 7f'))],
  ['protocol 4', Buffer.concat([raw('80 04'), emptyDict, stop])],
]

for (const [what, program] of instructions) {
  test(`a pickle with ${what} is refused`, async (t) => {
    await t.throwsAsync(read(t, torchFile(program)), { instanceOf: LlavaError, code: 'MODEL_UNSUPPORTED', message: /instruction 0x|pickle protocol/ })
  })
}

const set = (value: Buffer): Buffer => pickle(dict({ w: value }))
const senseless: readonly (readonly [what: string, program: Buffer, message: RegExp])[] = [
  ['applies a storage type', set(call('torch', 'FloatStorage', int(1))), /not a tensor/],
  ['applies a number', set(Buffer.concat([int(1), emptyTuple, reduce])), /not a tensor/],
  ['fills an OrderedDict by its arguments', set(call('collections', 'OrderedDict', none)), /not a tensor/],
  ['rebuilds a tensor without arguments', set(call('torch._utils', '_rebuild_tensor_v2')), /not a tensor/],
  ['rebuilds a tensor over a number', set(call('torch._utils', '_rebuild_tensor_v2', int(1), int(0), tuple(), tuple())), /not a tensor/],
  ['gives a tensor a negative size', set(tensor({ shape: [-2, 3], elements: 6 })), /not a tensor/],
  ['gives a tensor a size beyond 2^53', set(tensor({ elements: 6, offset: long(2n ** 62n) })), /not a tensor/],
  ['gives a tensor fewer strides than dimensions', set(tensor({ strides: [1] })), /not a tensor/],
  ['names a storage by something else', pickle(tuple(text('module'), text('os')), Buffer.from('Q')), /not a storage/],
  ['sets the state of a tensor', set(Buffer.concat([tensor(), emptyDict, Buffer.from('b')])), /state/],
  ['appends to a tensor', set(Buffer.concat([tensor(), int(1), Buffer.from('a')])), /not a list/],
  ['adds to a tuple', pickle(tuple(), mark, text('a'), int(1), setItems), /not a dictionary/],
  ['adds a key without a value', pickle(emptyDict, mark, text('a'), setItems), /not a dictionary/],
  ['is empty', Buffer.alloc(0), /ends in the middle/],
  ['stops with an empty stack', pickle(), /takes a value/],
  ['takes more than there is', pickle(reduce), /takes a value/],
  ['closes a tuple that was not opened', pickle(Buffer.from('t')), /takes a value/],
  ['recalls what it has not kept', pickle(raw('68 05')), /recalls/],
  ['ends inside a string', pickle(raw('58 ff ff ff 7f')), /ends in the middle of an instruction/],
  ['ends inside a name', Buffer.from('cos'), /middle of a name/],
  ['is a list', pickle(Buffer.from(']')), /not a dictionary of tensors/],
  ['holds a number beside tensors', pickle(dict({ w: tensor(), epoch: int(1) })), /not a tensor with a name/],
  ['has a number as name', pickle(emptyDict, mark, int(1), tensor(), setItems), /not a tensor with a name/],
  ['builds a million dictionaries', pickle(Buffer.alloc(1_000_000, '}')), /more than 131072 objects/],
  ['names a storage that is not there', set(tensor({ key: '7' })), /lacks the zip entry archive\/data\/7/],
  ['leaves its folder', set(tensor({ key: '../../etc/passwd' })), /lacks the zip entry/],
  ['claims more elements than its storage has', set(tensor({ shape: [2, 4] })), /8 elements of F32 are not the 24 bytes/],
  ['starts beyond its storage', set(tensor({ offset: int(1) })), /reaches beyond its storage of 6/],
  ['claims a shape beyond its storage', set(tensor({ shape: [2 ** 30, 2 ** 30], elements: 6 })), /reaches beyond/],
]

for (const [what, program, message] of senseless) {
  test(`a pickle that ${what} fails with MODEL_CORRUPT`, async (t) => {
    await t.throwsAsync(read(t, torchFile(program)), { instanceOf: LlavaError, code: 'MODEL_CORRUPT', message })
  })
}

test('a value that a pickle keeps in itself does no harm', async (t) => {
  const program = pickle(emptyDict, raw('71 00'), mark, text('self'), raw('68 00'), setItems)
  await t.throwsAsync(read(t, torchFile(program)), { code: 'MODEL_CORRUPT', message: /not a tensor with a name/ })
})

for (const [what, parts] of [
  ['transposed', { strides: [1, 2] }],
  ['repeated', { strides: [0, 1] }],
  ['cut out of a wider one', { shape: [2, 2], strides: [3, 1], elements: 6 }],
] as const) {
  test(`a tensor that is ${what} is refused by name`, async (t) => {
    await t.throwsAsync(read(t, torchFile(set(tensor(parts)))), { code: 'MODEL_UNSUPPORTED', message: /"w".*contiguous/ })
  })
}

// ---- archives that are not what they say

const entries = torchEntries(one, { 0: values })
const broken: readonly (readonly [what: string, code: string, bytes: Buffer, message: RegExp])[] = [
  ['a compressed entry', 'MODEL_UNSUPPORTED', zipFile({ entries: entries.map((entry) => ({ ...entry, method: 8 })) }), /compressed/],
  ['an encrypted entry', 'MODEL_UNSUPPORTED', zipFile({ entries: entries.map((entry) => ({ ...entry, flags: 1 })) }), /encrypted/],
  ['no pickle', 'MODEL_UNSUPPORTED', zipFile({ entries: entries.slice(1) }), /without data\.pkl/],
  ['big-endian storages', 'MODEL_UNSUPPORTED', zipFile({ entries: entries.map((entry) => (entry.name.endsWith('byteorder') ? { ...entry, data: Buffer.from('big') } : entry)) }), /"big"/],
  ['the format before torch 1.6', 'MODEL_UNSUPPORTED', raw('80 02 8a 0a 6c fc 9c 46 f9 20 6a a8 50 19 2e'), /before 1\.6/],
  ['an entry twice', 'MODEL_CORRUPT', zipFile({ entries: [...entries, ...entries.slice(0, 1)] }), /twice/],
  ['an entry under another name', 'MODEL_CORRUPT', zipFile({ entries: entries.map((entry) => ({ ...entry, localName: entry.name.replace('archive', 'evilish') })) }), /another name/],
  ['a directory beyond the file', 'MODEL_CORRUPT', zipFile({ entries, directoryOffset: 2 ** 31 }), /zip directory/],
  ['a directory of another size', 'MODEL_CORRUPT', zipFile({ entries, directorySize: 2 ** 31 }), /zip directory/],
  ['a zip64 directory beyond 2^53', 'MODEL_CORRUPT', zipFile({ entries, zip64: true, directoryOffset: 2 ** 60 }), /2\^53/],
  ['a zip64 directory beyond the file', 'MODEL_CORRUPT', zipFile({ entries, zip64: true, directoryOffset: 2 ** 40 }), /zip directory/],
  ['more entries than its directory', 'MODEL_CORRUPT', zipFile({ entries, count: 5 }), /zip directory/],
  ['a count in the billions', 'MODEL_CORRUPT', zipFile({ entries, zip64: true, count: 2 ** 40 }), /zip directory claims/],
  ['no end', 'MODEL_CORRUPT', torchFile(one).subarray(0, -4), /without an end/],
  ['nothing in it', 'MODEL_CORRUPT', Buffer.alloc(0), /not a PyTorch file/],
  ['a web page in it', 'MODEL_CORRUPT', Buffer.from('<!DOCTYPE html>'), /not a PyTorch file/],
  ['the first bytes of an archive only', 'MODEL_CORRUPT', u32(0x04034b50), /without an end/],
]

for (const [what, code, bytes, message] of broken) {
  test(`a PyTorch file with ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(read(t, bytes), { instanceOf: LlavaError, code, message })
  })
}

test('a file of torch’s own, cut or with a bit turned anywhere, opens or fails with a typed error', async (t) => {
  const whole = readFileSync(fileURLToPath(new URL('../../../test/fixtures/golden/original-bin/checkpoint/pytorch_model-00002-of-00002.bin', import.meta.url)))
  const file = path.join(await temporaryFolder(t), 'model.bin')
  let [seed, failed] = [1, 0]
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  for (let round = 0; round < 300; round++) {
    const bytes = round % 3 === 0 ? whole.subarray(0, random(whole.length)) : Buffer.from(whole)
    // Bits of the storages are anybody's: most turns go where the structure is, the pickle in front and the directory at the end.
    const at = round % 3 === 1 ? random(2000) : bytes.length - 1 - random(Math.min(2000, bytes.length))
    if (round % 3 !== 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8))
    await writeFile(file, bytes)
    const error: unknown = await readPytorchFile(file).then(
      () => undefined,
      (caught: unknown) => caught,
    )
    if (error === undefined) continue
    failed++
    t.true(error instanceof LlavaError && ['MODEL_CORRUPT', 'MODEL_UNSUPPORTED'].includes(error.code), error instanceof Error ? error.stack : 'no Error')
  }
  t.true(failed > 100)
})
