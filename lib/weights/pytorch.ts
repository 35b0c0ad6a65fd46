// PyTorch files (.bin, .pth): a zip archive with `<name>/data.pkl`, a pickled dictionary of tensors, and `<name>/data/<key>`, the raw storages.
// The archive is stored uncompressed, so that every tensor is a range of the file and is mapped like any other; nothing is unpacked.

import type { FileHandle } from 'node:fs/promises'
import { corrupt, unsupported } from './model-error.js'
import { elementCount, type StoredTensor } from './stored-tensor.js'
import { PickledTensor, unpickle, type Pickled, type PickledDict } from './unpickler.js'
import { dataOffset, looksLikeZip, readZipDirectory, type ZipDirectory, type ZipEntry } from './zip.js'
import { readExactly, withFile } from './file-head.js'

const elementSizes: ReadonlyMap<string, number> = new Map([
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
  ['F64', 8],
  ['I64', 8],
  ['I32', 4],
  ['I16', 2],
  ['I8', 1],
  ['U8', 1],
  ['BOOL', 1],
])

// The pickle of a 13B model's shard has about 40 KB.
const mostPickleBytes = 2 << 20

/** All tensors of one file, by the names of its dictionary. */
export async function readPytorchFile(path: string): Promise<readonly StoredTensor[]> {
  return withFile(path, async (file, size) => {
    const head = await readExactly(file, path, 0, Math.min(size, 4))
    if (!looksLikeZip(head)) throw notAnArchive(path, head)
    const archive = new Archive(file, path, await readZipDirectory(file, path, size))
    const dict = stateDict(path, unpickle(path, await archive.pickle()))
    await archive.checkByteOrder()
    const tensors: StoredTensor[] = []
    for (const [name, value] of dict) {
      if (typeof name !== 'string' || !(value instanceof PickledTensor))
        throw corrupt(path, `its dictionary holds something that is not a tensor with a name`)
      tensors.push(await archive.place(name, value))
    }
    return tensors
  })
}

function notAnArchive(path: string, head: Buffer): Error {
  if (head[0] === 0x80)
    return unsupported(
      path,
      'the format of torch before 1.6',
      'the zip format: load the file with torch and `torch.save` it again, or save safetensors',
    )
  return corrupt(path, 'not a PyTorch file (its first bytes are not those of a zip archive)')
}

/** The dictionary itself, or the one that training scripts wrap as `state_dict`. */
function stateDict(path: string, root: Pickled): PickledDict {
  if (!(root instanceof Map)) throw corrupt(path, 'its pickle is not a dictionary of tensors')
  const inner = root.get('state_dict')
  return inner instanceof Map ? inner : root
}

class Archive {
  readonly #file: FileHandle
  readonly #path: string
  readonly #directory: ZipDirectory
  /** The folder in the archive that holds everything, with its slash. */
  readonly #root: string
  readonly #offsets = new Map<string, number>()

  constructor(file: FileHandle, path: string, directory: ZipDirectory) {
    this.#file = file
    this.#path = path
    this.#directory = directory
    const pickle = [...directory.entries.keys()].find((name) => /^[^/]*\/data\.pkl$/.test(name))
    if (pickle === undefined) throw unsupported(path, 'a zip archive without data.pkl', 'files that `torch.save` wrote')
    this.#root = pickle.slice(0, -'data.pkl'.length)
  }

  pickle(): Promise<Buffer> {
    return this.#read('data.pkl', mostPickleBytes)
  }

  async checkByteOrder(): Promise<void> {
    if (!this.#directory.entries.has(`${this.#root}byteorder`)) return
    const order = (await this.#read('byteorder', 16)).toString('latin1')
    if (order !== 'little') throw unsupported(this.#path, `byte order ${JSON.stringify(order)}`, 'little-endian files')
  }

  async #read(name: string, maximum: number): Promise<Buffer> {
    const entry = this.#entry(name)
    if (entry.nbytes > maximum)
      throw corrupt(this.#path, `${entry.name} has ${entry.nbytes} bytes, more than any checkpoint needs`)
    return readExactly(this.#file, this.#path, await this.#offset(entry), entry.nbytes)
  }

  #entry(name: string): ZipEntry {
    const entry = this.#directory.entries.get(this.#root + name)
    if (entry === undefined) throw corrupt(this.#path, `lacks the zip entry ${this.#root}${name}`)
    return entry
  }

  async #offset(entry: ZipEntry): Promise<number> {
    const known =
      this.#offsets.get(entry.name) ?? (await dataOffset(this.#file, this.#path, entry, this.#directory.end))
    this.#offsets.set(entry.name, known)
    return known
  }

  /** A tensor's range of the file: its storage must hold what the pickle says, and the tensor lie in it in row-major order. */
  async place(name: string, { storage, offset, shape, strides }: PickledTensor): Promise<StoredTensor> {
    const entry = this.#entry(`data/${storage.key}`)
    const elementSize = elementSizes.get(storage.dtype) ?? 0
    if (storage.elements * elementSize !== entry.nbytes)
      throw corrupt(
        this.#path,
        `tensor "${name}": ${storage.elements} elements of ${storage.dtype} are not the ${entry.nbytes} bytes of ${entry.name}`,
      )
    const elements = elementCount(shape)
    if (elements === undefined || offset + elements > storage.elements)
      throw corrupt(
        this.#path,
        `tensor "${name}" of shape [${shape.join(', ')}] reaches beyond its storage of ${storage.elements} elements`,
      )
    if (!isRowMajor(shape, strides))
      throw unsupported(
        this.#path,
        `tensor "${name}" is a transposed or strided view`,
        'contiguous tensors (`tensor.contiguous()` before saving)',
      )
    const start = await this.#offset(entry)
    return {
      name,
      dtype: storage.dtype,
      shape,
      path: this.#path,
      offset: start + offset * elementSize,
      nbytes: elements * elementSize,
    }
  }
}

/** Strides of a dimension with one element, or of a tensor with none, do not matter. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true
  let step = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] ?? 1
    if (size !== 1 && strides[axis] !== step) return false
    step *= size
  }
  return true
}
