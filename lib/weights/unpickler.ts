// Python pickles, restricted to what a state dict of tensors needs. A pickle is a program for a stack machine; this machine knows dictionaries, lists,
// tuples, numbers and strings, and three things by name: an OrderedDict, torch's storage types, and "a tensor over this storage". Nothing is ever called:
// any other name fails at once, before the instruction that would use it. One pass, no recursion, and never more values than the program has bytes.

import { corrupt, unsupported } from './model-error.js'

/** An untyped run of elements in the archive. */
export class Storage {
  readonly dtype: string
  /** Names the archive entry `data/<key>`. */
  readonly key: string
  readonly elements: number

  constructor(dtype: string, key: string, elements: number) {
    this.dtype = dtype
    this.key = key
    this.elements = elements
  }
}

/** `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`, as data. */
export class PickledTensor {
  readonly storage: Storage
  readonly offset: number
  readonly shape: readonly number[]
  readonly strides: readonly number[]

  constructor(storage: Storage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage
    this.offset = offset
    this.shape = shape
    this.strides = strides
  }
}

export type PickledDict = Map<Pickled, Pickled>
export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Storage
  | PickledTensor
  | PickledTuple
  | Pickled[]
  | PickledDict
  | StorageType
  | Callable

class PickledTuple {
  readonly items: readonly Pickled[]

  constructor(items: readonly Pickled[]) {
    this.items = items
  }
}

/** A name that may stand in a pickle. */
class StorageType {
  readonly dtype: string

  constructor(dtype: string) {
    this.dtype = dtype
  }
}

/** What REDUCE may apply; `undefined` says that the arguments make no sense. */
class Callable {
  readonly apply: (parameters: readonly Pickled[]) => Pickled | undefined

  constructor(apply: (parameters: readonly Pickled[]) => Pickled | undefined) {
    this.apply = apply
  }
}

const storageTypes = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
} as const

const globals: ReadonlyMap<string, StorageType | Callable> = new Map<string, StorageType | Callable>([
  ...Object.entries(storageTypes).map(([name, dtype]) => [`torch.${name}`, new StorageType(dtype)] as const),
  [
    'collections.OrderedDict',
    new Callable((parameters) => (parameters.length === 0 ? new Map<Pickled, Pickled>() : undefined)),
  ],
  ['torch._utils._rebuild_tensor_v2', new Callable(rebuildTensor)],
])

/** (storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata]); what follows the stride does not change the values. */
function rebuildTensor([storage, offset, size, stride]: readonly Pickled[]): PickledTensor | undefined {
  const [shape, strides] = [counts(size), counts(stride)]
  if (!(storage instanceof Storage) || !isCount(offset) || shape === undefined || strides?.length !== shape.length)
    return undefined
  return new PickledTensor(storage, offset, shape, strides)
}

function counts(value: Pickled | undefined): readonly number[] | undefined {
  return value instanceof PickledTuple && value.items.every(isCount) ? value.items : undefined
}

function isCount(value: Pickled | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** ('storage', type, key, location, elements): how torch names a storage of the archive. */
function storageOf(id: Pickled): Storage | undefined {
  if (!(id instanceof PickledTuple) || id.items.length !== 5) return undefined
  const [kind, type, key, , elements] = id.items
  if (kind !== 'storage' || !(type instanceof StorageType) || typeof key !== 'string' || !isCount(elements))
    return undefined
  return new Storage(type.dtype, key, elements)
}

// A state dict of 1,000 tensors pushes 10,000 objects. The bound keeps a hostile program from filling the memory with empty dictionaries.
const maxObjects = 1 << 17

const only = 'dictionaries of tensors, as `torch.save(model.state_dict(), …)` writes them'
const mark = Symbol('mark')

/** @param path The file's, for errors. */
export function unpickle(path: string, bytes: Buffer): Pickled {
  return new Machine(path, bytes).run()
}

class Machine {
  readonly #path: string
  readonly #bytes: Buffer
  #at = 0
  #objects = 0
  readonly #stack: (Pickled | typeof mark)[] = []
  readonly #memo = new Map<number, Pickled>()

  constructor(path: string, bytes: Buffer) {
    this.#path = path
    this.#bytes = bytes
  }

  run(): Pickled {
    for (;;) {
      const code = this.#byte()
      if (code === stop) return this.#pop()
      const execute = instructions.get(code)
      if (execute === undefined)
        throw unsupported(this.#path, `its pickle has the instruction 0x${code.toString(16).padStart(2, '0')}`, only)
      execute(this)
    }
  }

  /** Where the next `nbytes` of the program begin. */
  take(nbytes: number): number {
    const start = this.#at
    if (start + nbytes > this.#bytes.length)
      throw corrupt(this.#path, 'its pickle ends in the middle of an instruction')
    this.#at = start + nbytes
    return start
  }

  #byte(): number {
    return this.#bytes.readUInt8(this.take(1))
  }

  unsigned(nbytes: 1 | 2 | 4): number {
    return this.#bytes.readUIntLE(this.take(nbytes), nbytes)
  }

  int32(): number {
    return this.#bytes.readInt32LE(this.take(4))
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.take(8))
  }

  /** Two's complement of up to 255 bytes. */
  long(): number | bigint {
    const nbytes = this.unsigned(1)
    const start = this.take(nbytes)
    let value = 0n
    for (let i = nbytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes.readUInt8(start + i))
    const signed = BigInt.asIntN(8 * nbytes, value)
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed
  }

  text(nbytes: number): string {
    const start = this.take(nbytes)
    return this.#bytes.toString('utf8', start, this.#at)
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at)
    if (end < 0) throw corrupt(this.#path, 'its pickle ends in the middle of a name')
    const line = this.text(end - this.#at)
    this.take(1)
    return line
  }

  push(value: Pickled | typeof mark): void {
    if (value instanceof Object && ++this.#objects > maxObjects)
      throw corrupt(this.#path, `its pickle builds more than ${maxObjects} objects`)
    this.#stack.push(value)
  }

  #pop(): Pickled {
    const value = this.#stack.pop()
    if (value === undefined || value === mark) throw this.#underflow()
    return value
  }

  /** What lies above the last mark; the mark goes too. */
  #popToMark(): Pickled[] {
    const at = this.#stack.lastIndexOf(mark)
    if (at < 0) throw this.#underflow()
    const [, ...values] = this.#stack.splice(at)
    return values as Pickled[]
  }

  #underflow(): Error {
    return corrupt(this.#path, 'its pickle takes a value that is not there')
  }

  global(): void {
    const name = `${this.line()}.${this.line()}`
    const known = globals.get(name)
    if (known === undefined)
      throw unsupported(
        this.#path,
        `its pickle asks for "${name.slice(0, 200)}", which is refused: it could run code`,
        only,
      )
    this.push(known)
  }

  /** The one place where a name is applied, and it only ever builds a tensor's description or an empty dictionary. */
  reduce(): void {
    const parameters = this.#pop()
    const callable = this.#pop()
    const value =
      callable instanceof Callable && parameters instanceof PickledTuple ? callable.apply(parameters.items) : undefined
    if (value === undefined) throw corrupt(this.#path, 'its pickle builds something that is not a tensor')
    this.push(value)
  }

  persistent(): void {
    const storage = storageOf(this.#pop())
    if (storage === undefined) throw corrupt(this.#path, 'its pickle names something that is not a storage of numbers')
    this.push(storage)
  }

  /** State of an OrderedDict is torch's `_metadata`: versions of modules, which no tensor depends on. */
  build(): void {
    this.#pop()
    if (!(this.#top() instanceof Map))
      throw corrupt(this.#path, 'its pickle sets the state of something that is not a dictionary')
  }

  tuple(size?: number): void {
    if (size !== undefined && size > this.#stack.length) throw this.#underflow()
    this.push(
      new PickledTuple(
        size === undefined ? this.#popToMark() : Array.from({ length: size }, () => this.#pop()).reverse(),
      ),
    )
  }

  append(values: readonly Pickled[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) throw corrupt(this.#path, 'its pickle appends to something that is not a list')
    for (const value of values) list.push(value)
  }

  appendOne(): void {
    this.append([this.#pop()])
  }

  appendMany(): void {
    this.append(this.#popToMark())
  }

  setOne(): void {
    const value = this.#pop()
    this.#set([this.#pop(), value])
  }

  setMany(): void {
    this.#set(this.#popToMark())
  }

  #set(items: readonly Pickled[]): void {
    const dict = this.#top()
    if (!(dict instanceof Map) || items.length % 2 !== 0)
      throw corrupt(this.#path, 'its pickle adds to something that is not a dictionary')
    for (let i = 0; i < items.length; i += 2) dict.set(items[i] as Pickled, items[i + 1] as Pickled)
  }

  #top(): Pickled {
    const value = this.#pop()
    this.push(value)
    return value
  }

  remember(index: number): void {
    this.#memo.set(index, this.#top())
  }

  recall(index: number): void {
    const value = this.#memo.get(index)
    if (value === undefined) throw corrupt(this.#path, 'its pickle recalls a value that it has not kept')
    this.push(value)
  }

  protocol(): void {
    const version = this.unsigned(1)
    if (version > 2) throw unsupported(this.#path, `pickle protocol ${version}`, `protocol 2, torch's own; ${only}`)
  }
}

const stop = 0x2e

/** Protocol 2 without the instructions that build objects (INST, OBJ, NEWOBJ, EXT) or juggle the stack (POP, DUP). */
const instructions: ReadonlyMap<number, (machine: Machine) => void> = new Map<number, (machine: Machine) => void>([
  [
    0x80,
    (machine) => {
      machine.protocol()
    },
  ],
  [
    code('('),
    (machine) => {
      machine.push(mark)
    },
  ],
  [
    code('N'),
    (machine) => {
      machine.push(null)
    },
  ],
  [
    0x88,
    (machine) => {
      machine.push(true)
    },
  ],
  [
    0x89,
    (machine) => {
      machine.push(false)
    },
  ],
  [
    code('K'),
    (machine) => {
      machine.push(machine.unsigned(1))
    },
  ],
  [
    code('M'),
    (machine) => {
      machine.push(machine.unsigned(2))
    },
  ],
  [
    code('J'),
    (machine) => {
      machine.push(machine.int32())
    },
  ],
  [
    0x8a,
    (machine) => {
      machine.push(machine.long())
    },
  ],
  [
    code('G'),
    (machine) => {
      machine.push(machine.double())
    },
  ],
  [
    code('X'),
    (machine) => {
      machine.push(machine.text(machine.unsigned(4)))
    },
  ],
  [
    code('U'),
    (machine) => {
      machine.push(machine.text(machine.unsigned(1)))
    },
  ],
  [
    code('}'),
    (machine) => {
      machine.push(new Map<Pickled, Pickled>())
    },
  ],
  [
    code(']'),
    (machine) => {
      machine.push([])
    },
  ],
  [
    code(')'),
    (machine) => {
      machine.tuple(0)
    },
  ],
  [
    0x85,
    (machine) => {
      machine.tuple(1)
    },
  ],
  [
    0x86,
    (machine) => {
      machine.tuple(2)
    },
  ],
  [
    0x87,
    (machine) => {
      machine.tuple(3)
    },
  ],
  [
    code('t'),
    (machine) => {
      machine.tuple()
    },
  ],
  [
    code('a'),
    (machine) => {
      machine.appendOne()
    },
  ],
  [
    code('e'),
    (machine) => {
      machine.appendMany()
    },
  ],
  [
    code('s'),
    (machine) => {
      machine.setOne()
    },
  ],
  [
    code('u'),
    (machine) => {
      machine.setMany()
    },
  ],
  [
    code('q'),
    (machine) => {
      machine.remember(machine.unsigned(1))
    },
  ],
  [
    code('r'),
    (machine) => {
      machine.remember(machine.unsigned(4))
    },
  ],
  [
    code('h'),
    (machine) => {
      machine.recall(machine.unsigned(1))
    },
  ],
  [
    code('j'),
    (machine) => {
      machine.recall(machine.unsigned(4))
    },
  ],
  [
    code('c'),
    (machine) => {
      machine.global()
    },
  ],
  [
    code('Q'),
    (machine) => {
      machine.persistent()
    },
  ],
  [
    code('R'),
    (machine) => {
      machine.reduce()
    },
  ],
  [
    code('b'),
    (machine) => {
      machine.build()
    },
  ],
])

function code(character: string): number {
  return character.charCodeAt(0)
}
