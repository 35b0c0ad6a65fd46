// safetensors header: u64 length N, N bytes of JSON (name -> dtype, shape, data_offsets), then the data without holes.
// The rules enforced are the format's own: unique names, sorted by offset the tensors tile the data exactly, bytes = f(dtype, shape).

import { endOfString, Fields, parseJson } from './fields.js'
import { corrupt, unsupported } from './model-error.js'
import { elementCount, type StoredTensor } from './stored-tensor.js'
import { readExactly, withFile } from './file-head.js'

const maxHeader = 100_000_000

const elementSizes: ReadonlyMap<string, number> = new Map([
  ['BOOL', 1],
  ['U8', 1],
  ['I8', 1],
  ['F8_E5M2', 1],
  ['F8_E4M3', 1],
  ['I16', 2],
  ['U16', 2],
  ['F16', 2],
  ['BF16', 2],
  ['I32', 4],
  ['U32', 4],
  ['F32', 4],
  ['C64', 8],
  ['F64', 8],
  ['I64', 8],
  ['U64', 8],
])

/** Reads and checks the header of one safetensors file. */
export async function readSafetensorsHeader(file: string): Promise<readonly StoredTensor[]> {
  return withFile(file, async (handle, size) => {
    if (size < 8) throw corrupt(file, `${size} bytes are too few for a safetensors file`)
    const nbytes = (await readExactly(handle, file, 0, 8)).readBigUInt64LE()
    if (nbytes > maxHeader)
      throw corrupt(
        file,
        `a header of ${nbytes} bytes (at most ${maxHeader} are possible); is this a safetensors file?`,
      )
    const headerSize = Number(nbytes)
    if (headerSize + 8 > size)
      throw corrupt(
        file,
        `its header should have ${headerSize} bytes, but the file has ${size}; it may be truncated, fetch it again`,
      )
    const header = await readExactly(handle, file, 8, headerSize)
    return parseSafetensorsHeader(file, header, size)
  })
}

async function parseSafetensorsHeader(
  file: string,
  header: Buffer,
  fileSize: number,
): Promise<readonly StoredTensor[]> {
  const text = decodeUtf8(file, header)
  if (!text.startsWith('{')) throw corrupt(file, 'its header is not a JSON object')
  const entries = (await parseJson(`${file}, header`, text)) as Readonly<Record<string, unknown>>
  const names = Object.keys(entries)
  if (countMembers(text) !== names.length) throw corrupt(file, 'its header names a tensor twice')
  const dataStart = 8 + header.length
  const tensors = names
    .filter((name) => name !== '__metadata__')
    .map((name) => parseEntry(file, name, entries[name], dataStart))
  checkTiling(file, tensors, dataStart, fileSize)
  return tensors
}

function decodeUtf8(file: string, header: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header)
  } catch (cause) {
    throw corrupt(file, 'its header is not UTF-8', cause)
  }
}

/** How many members the outermost object of a valid JSON text has, repeated names counted each time (JSON.parse keeps the last). */
function countMembers(text: string): number {
  let members = 0
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (character === '"') i = endOfString(text, i)
    else if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') depth--
    else if (character === ':' && depth === 1) members++
  }
  return members
}

function parseEntry(file: string, name: string, value: unknown, dataStart: number): StoredTensor {
  const entry = Fields.fromJson(`${file}, tensor "${name}"`, value)
  const dtype = entry.required('dtype', entry.string('dtype'))
  const shape = sizes(entry, 'shape')
  const [begin, end, ...more] = sizes(entry, 'data_offsets')
  if (begin === undefined || end === undefined || more.length > 0) throw entry.mistake('data_offsets', 'two offsets')
  const elementSize = elementSizes.get(dtype)
  if (elementSize === undefined) throw unsupported(file, `tensor "${name}" has the type ${dtype}`, 'F32, F16, BF16')
  const elements = elementCount(shape)
  if (elements === undefined || elements * elementSize !== end - begin) {
    throw corrupt(
      file,
      `tensor "${name}": ${dtype} of shape [${shape.join(', ')}] does not take the ${end - begin} bytes it is given`,
    )
  }
  return { name, dtype, shape, path: file, offset: dataStart + begin, nbytes: end - begin }
}

function sizes(entry: Fields, key: string): readonly number[] {
  const values = entry.required(key, entry.numbers(key))
  if (!values.every((value) => Number.isSafeInteger(value) && value >= 0)) throw entry.mistake(key, 'a list of sizes')
  return values
}

/** Sorted by offset, each tensor begins where the one before ends, from the start of the data to the end of the file. */
function checkTiling(file: string, tensors: readonly StoredTensor[], dataStart: number, fileSize: number): void {
  let at = dataStart
  for (const tensor of tensors.toSorted((a, b) => a.offset - b.offset || a.nbytes - b.nbytes)) {
    if (tensor.offset !== at)
      throw corrupt(
        file,
        `tensor "${tensor.name}" begins at byte ${tensor.offset}, where ${at} was due (a hole or an overlap)`,
      )
    at += tensor.nbytes
  }
  if (at !== fileSize)
    throw corrupt(
      file,
      `its tensors end at byte ${at}, but the file has ${fileSize}; it may be truncated, fetch it again`,
    )
}
