// PyTorch files: pickles that would run code, ask for what they may not have, or make no sense, and archives that are not what they say.

import { u32 } from '../weights/gguf-file.js'
import {
  dict,
  emptyDict,
  emptyTuple,
  global,
  int,
  long,
  mark,
  none,
  orderedDict,
  pickle,
  reduce,
  setItems,
  stop,
  tensor,
  text,
  torchEntries,
  torchFile,
  tuple,
  zipFile,
} from '../weights/pytorch-file.js'
import { checkpoint } from '../weights/tiny-llava.js'
import { opening, type BadInput } from './row.js'

const values = Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
const one = pickle(dict({ w: tensor() }))

const call = (module: string, name: string, ...parameters: readonly Buffer[]): Buffer =>
  Buffer.concat([global(module, name), tuple(...parameters), reduce])
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
  [
    'torch._utils._rebuild_parameter',
    pickle(dict({ w: call('torch._utils', '_rebuild_parameter', tensor(), Buffer.from([0x88]), orderedDict) })),
  ],
  ['torch._utils._rebuild_wrapper_subclass', pickle(call('torch._utils', '_rebuild_wrapper_subclass', none))],
  ['torch.storage.UntypedStorage', pickle(global('torch.storage', 'UntypedStorage'))],
  ['torch.FloatStorage.__init__', pickle(global('torch', 'FloatStorage.__init__'))],
  ['collections.OrderedDict.update', pickle(global('collections', 'OrderedDict.update'))],
  ['collections.Counter', pickle(call('collections', 'Counter', none))],
  ['functools.partial', pickle(call('functools', 'partial', none))],
  ['codecs.encode', pickle(call('_codecs', 'encode', text('x')))],
]

const instructions: readonly (readonly [what: string, program: Buffer, message: RegExp])[] = [
  ['INST', pickle(mark, Buffer.from('ios\nsystem\n')), /instruction 0x69/],
  ['OBJ', pickle(mark, orderedDict, Buffer.from('o')), /instruction 0x6f/],
  ['NEWOBJ', pickle(global('collections', 'OrderedDict'), emptyTuple, raw('81')), /instruction 0x81/],
  ['NEWOBJ_EX', pickle(global('collections', 'OrderedDict'), emptyTuple, emptyDict, raw('92')), /instruction 0x92/],
  ['STACK_GLOBAL', pickle(text('os'), text('system'), raw('93')), /instruction 0x93/],
  ['EXT1', pickle(raw('82 01')), /instruction 0x82/],
  ['PERSID', pickle(Buffer.from('P0\n')), /instruction 0x50/],
  ['DUP', pickle(none, Buffer.from('2')), /instruction 0x32/],
  ['FRAME', pickle(raw('95 00 00 00 00 00 00 00 00')), /instruction 0x95/],
  ['BYTEARRAY8', pickle(raw('96 ff ff ff ff ff ff ff 7f')), /instruction 0x96/],
  ['protocol 4', Buffer.concat([raw('80 04'), emptyDict, stop]), /pickle protocol 4/],
]

const set = (value: Buffer): Buffer => pickle(dict({ w: value }))
const senseless: readonly (readonly [what: string, program: Buffer, message: RegExp])[] = [
  ['applies a storage type', set(call('torch', 'FloatStorage', int(1))), /not a tensor/],
  ['applies a number', set(Buffer.concat([int(1), emptyTuple, reduce])), /not a tensor/],
  ['fills an OrderedDict by its arguments', set(call('collections', 'OrderedDict', none)), /not a tensor/],
  ['rebuilds a tensor without arguments', set(call('torch._utils', '_rebuild_tensor_v2')), /not a tensor/],
  [
    'rebuilds a tensor over a number',
    set(call('torch._utils', '_rebuild_tensor_v2', int(1), int(0), tuple(), tuple())),
    /not a tensor/,
  ],
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
  [
    'keeps itself in itself',
    pickle(emptyDict, raw('71 00'), mark, text('self'), raw('68 00'), setItems),
    /not a tensor with a name/,
  ],
  ['is a list', pickle(Buffer.from(']')), /not a dictionary of tensors/],
  ['holds a number beside tensors', pickle(dict({ w: tensor(), epoch: int(1) })), /not a tensor with a name/],
  ['has a number as name', pickle(emptyDict, mark, int(1), tensor(), setItems), /not a tensor with a name/],
  ['builds a million dictionaries', pickle(Buffer.alloc(1_000_000, '}')), /more than 131072 objects/],
  ['names a storage that is not there', set(tensor({ key: '7' })), /lacks the zip entry archive\/data\/7/],
  ['leaves its folder', set(tensor({ key: '../../etc/passwd' })), /lacks the zip entry/],
  [
    'claims more elements than its storage has',
    set(tensor({ shape: [2, 4] })),
    /8 elements of F32 are not the 24 bytes/,
  ],
  ['starts beyond its storage', set(tensor({ offset: int(1) })), /reaches beyond its storage of 6/],
  ['claims a shape beyond its storage', set(tensor({ shape: [2 ** 30, 2 ** 30], elements: 6 })), /reaches beyond/],
]

const strided: readonly (readonly [what: string, program: Buffer, message: RegExp])[] = [
  ['transposed', set(tensor({ strides: [1, 2] })), /"w".*contiguous/],
  ['repeated', set(tensor({ strides: [0, 1] })), /"w".*contiguous/],
  ['cut out of a wider one', set(tensor({ shape: [2, 2], strides: [3, 1], elements: 6 })), /"w".*contiguous/],
]

const entries = torchEntries(one, { 0: values })
const broken: readonly (readonly [what: string, code: BadInput['code'], bytes: Buffer, message: RegExp])[] = [
  [
    'a compressed entry',
    'MODEL_UNSUPPORTED',
    zipFile({ entries: entries.map((entry) => ({ ...entry, method: 8 })) }),
    /compressed/,
  ],
  [
    'an encrypted entry',
    'MODEL_UNSUPPORTED',
    zipFile({ entries: entries.map((entry) => ({ ...entry, flags: 1 })) }),
    /encrypted/,
  ],
  ['no pickle', 'MODEL_UNSUPPORTED', zipFile({ entries: entries.slice(1) }), /without data\.pkl/],
  [
    'big-endian storages',
    'MODEL_UNSUPPORTED',
    zipFile({
      entries: entries.map((entry) =>
        entry.name.endsWith('byteorder') ? { ...entry, data: Buffer.from('big') } : entry,
      ),
    }),
    /"big"/,
  ],
  [
    'the format before torch 1.6',
    'MODEL_UNSUPPORTED',
    raw('80 02 8a 0a 6c fc 9c 46 f9 20 6a a8 50 19 2e'),
    /before 1\.6/,
  ],
  ['an entry twice', 'MODEL_CORRUPT', zipFile({ entries: [...entries, ...entries.slice(0, 1)] }), /twice/],
  [
    'an entry under another name',
    'MODEL_CORRUPT',
    zipFile({ entries: entries.map((entry) => ({ ...entry, localName: entry.name.replace('archive', 'evilish') })) }),
    /another name/,
  ],
  ['a directory beyond the file', 'MODEL_CORRUPT', zipFile({ entries, directoryOffset: 2 ** 31 }), /zip directory/],
  ['a directory of another size', 'MODEL_CORRUPT', zipFile({ entries, directorySize: 2 ** 31 }), /zip directory/],
  [
    'a zip64 directory beyond 2^53',
    'MODEL_CORRUPT',
    zipFile({ entries, zip64: true, directoryOffset: 2 ** 60 }),
    /2\^53/,
  ],
  [
    'a zip64 directory beyond the file',
    'MODEL_CORRUPT',
    zipFile({ entries, zip64: true, directoryOffset: 2 ** 40 }),
    /zip directory/,
  ],
  ['more entries than its directory', 'MODEL_CORRUPT', zipFile({ entries, count: 5 }), /zip directory/],
  [
    'a count in the billions',
    'MODEL_CORRUPT',
    zipFile({ entries, zip64: true, count: 2 ** 40 }),
    /zip directory claims/,
  ],
  ['no end', 'MODEL_CORRUPT', torchFile(one).subarray(0, -4), /without an end/],
  ['nothing in it', 'MODEL_CORRUPT', Buffer.alloc(0), /not a PyTorch file/],
  ['a web page in it', 'MODEL_CORRUPT', Buffer.from('<!DOCTYPE html>'), /not a PyTorch file/],
  ['the first bytes of an archive only', 'MODEL_CORRUPT', u32(0x04034b50), /without an end/],
]

const row = (title: string, code: BadInput['code'], bytes: Buffer, message: RegExp): BadInput => ({
  title,
  code,
  message,
  call: opening({ ...checkpoint(), 'model.safetensors': undefined, 'pytorch_model.bin': bytes }),
})

export const pytorch: readonly BadInput[] = [
  ...forbidden.map(([name, program]) => {
    const message = new RegExp(`asks for "_?${name.replaceAll(/[.$]/g, '\\$&')}".*refused`)
    return row(`a pickle that asks for ${name}`, 'MODEL_UNSUPPORTED', torchFile(program), message)
  }),
  ...instructions.map(([what, program, message]) =>
    row(`a pickle with ${what}`, 'MODEL_UNSUPPORTED', torchFile(program), message),
  ),
  ...senseless.map(([what, program, message]) =>
    row(`a pickle that ${what}`, 'MODEL_CORRUPT', torchFile(program), message),
  ),
  ...strided.map(([what, program, message]) =>
    row(`a pickled tensor that is ${what}`, 'MODEL_UNSUPPORTED', torchFile(program), message),
  ),
  ...broken.map(([what, code, bytes, message]) => row(`a PyTorch file with ${what}`, code, bytes, message)),
]
