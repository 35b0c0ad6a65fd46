// llava embed IMAGE… [--text T] --kind K --out FILE.npy | DIR

import { existsSync } from 'node:fs'
import path from 'node:path'
import { Option, type Command } from 'commander'
import {
  directoryDtypes,
  embedToDirectory,
  LlavaError,
  saveNpy,
  type DirectoryDtype,
  type DirectoryProgress,
  type EmbedInput,
  type Embedding,
  type EmbeddingKind,
  type EmbedOptions,
  type LLaVA,
  type NameColumn,
  type NamedInput,
} from '../index.js'
import {
  addImageFlags,
  addModelFlags,
  collect,
  imageOptions,
  integer,
  openModel,
  readImage,
  type ImageFlags,
  type ModelFlags,
} from './flags.js'
import { addHelp } from './help.js'
import { linesOf, pictureFiles } from './picture-files.js'
import { ProgressBar } from './progress-bar.js'
import type { Session } from './session.js'

const help = {
  about: [
    'A directory stands for the pictures below it. Prompts are the texts; with pictures, each picture with the text. ' +
      '"-" reads a picture from stdin. A file holds one entry for each input, in order: [inputs, …].',
    'A directory to write to is for any number of inputs and is laid out as clip-retrieval does: ' +
      'img_emb/img_emb_0000.npy beside metadata/metadata_0000.parquet, whose column image_path names the rows (of ' +
      'texts text_emb and caption). The same command goes on where it was stopped, by whatever it was, and takes ' +
      'pictures that have come since; a path that has its vector is not looked at again. Pictures that cannot be read are in ' +
      'errors.jsonl, {"path","code","message"} a line, and the exit code is then 1; they are not tried again without ' +
      '--retry-errors.',
  ],
  lists: {
    'Kinds, with N rows of a picture and the widths Dv of vision, D of text, C of CLIP': [
      ['patch_features', "[N,Dv]  the vision tower's output"],
      ['pooled_features', '[Dv]  its mean over the rows'],
      ['projected', "[N,D]  the projector's output"],
      ['projected_mean', '[D]  its mean over the rows'],
      ['hidden_last', '[D]  the decoder at the last position of a prompt'],
      ['hidden_mean', '[D]  its mean over all positions of a prompt'],
      ['clip_image', "[C]  CLIP's, for comparing pictures with texts; with --clip PATH"],
      ['clip_text', '[C]  the same of a text'],
    ],
    'Element types': [
      ['f32, f16', 'float32 (default of a file), float16 (default of a directory)'],
      ['int8', 'each row scaled by itself so that its largest magnitude is 127; cosines stay'],
      ['binary', 'a bit for each value above 0, as numpy.packbits'],
    ],
  },
  examples: [
    'llava embed *.jpg --kind projected_mean --normalize --out pictures.npy',
    'llava embed photos --kind clip_image --normalize --out vectors',
    'find / -name "*.jpg" | llava embed --list - --kind clip_image --normalize --out vectors',
    'llava embed cat.jpg --text "What is it?" --kind hidden_last --json',
    'llava embed --clip clip-vit-large-patch14-336 --text "a cat" --text "a dog" --kind clip_text --out texts.npy',
  ],
  json: [
    'Without --out: a line for each input, {"input","kind","shape","data"}. With --out and --json: ' +
      '{"file","kind","dtype","shape","inputs"}, of a directory ' +
      '{"directory","rows","shards","embedded","present","failed"}.',
  ],
} as const

const pictureKinds: readonly EmbeddingKind[] = [
  'patch_features',
  'pooled_features',
  'projected',
  'projected_mean',
  'clip_image',
]
const kinds: readonly EmbeddingKind[] = [...pictureKinds, 'hidden_last', 'hidden_mean', 'clip_text']

interface EmbedFlags extends ModelFlags, ImageFlags {
  readonly kind: EmbeddingKind
  readonly text?: readonly string[]
  readonly list?: string
  readonly clip?: string
  readonly normalize?: boolean
  readonly dtype?: DirectoryDtype
  readonly template?: 'plain'
  readonly out?: string
  readonly shardSize?: number
  readonly retryErrors?: boolean
}

export function addEmbed(program: Command, session: Session): void {
  const command = addImageFlags(addModelFlags(program.command('embed')))
    .description('turn pictures and texts into vectors')
    .argument('[images...]', 'pictures, and directories of pictures')
    .addOption(new Option('-k, --kind <kind>', 'what to take for the vector').choices(kinds).makeOptionMandatory())
    .option('--text <text>', 'a text; may be given several times', collect)
    .option('--list <file>', 'names more pictures, a path or URL a line, or for clip_text texts; "-" is stdin')
    .option('-o, --out <path>', 'where to write: a file that ends in .npy, or a directory')
    .option('--normalize', 'scale each vector to length 1')
    .addOption(new Option('--dtype <dtype>', 'element type of what is written').choices(directoryDtypes))
    .option('--shard-size <n>', 'vectors of a file in the directory (default: 10,000)', integer)
    .option('--retry-errors', 'try pictures again that are in errors.jsonl of the directory')
    .option(
      '--clip <path>',
      'a CLIP checkpoint (directory, or GGUF that llava convert made of one), for clip_image and clip_text',
    )
    .option('--template <name>', 'prompt format of hidden_last and hidden_mean (default: plain)')
    .action((images: readonly string[], flags: EmbedFlags) => embed(images, flags, session))
  addHelp(command, help)
}

async function embed(images: readonly string[], flags: EmbedFlags, session: Session): Promise<void> {
  checkFlags(images, flags)
  const inputs = await inputsOf(images, flags, session)
  const model = await openModel(flags, session, {
    ...imageOptions(flags),
    ...(flags.clip !== undefined && { clip: flags.clip }),
  })
  try {
    const { kind, normalize = false, template, out } = flags
    const options = { kind, normalize, signal: session.signal, ...(template !== undefined && { template }) }
    if (out === undefined) await writeLines(model, inputs, options, session)
    else if (out.endsWith('.npy')) await writeFile(model, inputs, out, options, flags, session)
    else await writeDirectory(model, inputs, out, options, flags, session)
  } finally {
    model.dispose()
  }
}

/** Says what does not go together, before anything is read. */
function checkFlags(images: readonly string[], { out, list, shardSize, retryErrors }: EmbedFlags): void {
  const fail = (message: string) => new LlavaError('INVALID_ARGUMENT', message)
  if (images.filter((word) => word === '-').length + Number(list === '-') > 1)
    throw fail('stdin can be read once: "-" may stand for one picture, or for the list')
  const directory = out !== undefined && !out.endsWith('.npy')
  if (!directory && (shardSize !== undefined || retryErrors === true))
    throw fail('--shard-size and --retry-errors need --out with a directory')
  if (directory && images.includes('-')) throw fail('a picture from stdin has no name to be known by in a directory')
}

/** Which inputs a kind takes from pictures and texts. In a directory pictures are known by their whole paths. */
async function inputsOf(
  images: readonly string[],
  { kind, out, list, text: given = [] }: EmbedFlags,
  session: Session,
): Promise<readonly NamedInput[]> {
  const listed = list === undefined ? [] : await linesOf(list, session)
  const texts = kind === 'clip_text' ? [...given, ...listed] : given
  const names = await pictureFiles(kind === 'clip_text' ? images : [...images, ...listed])
  const nameOf = out === undefined || out.endsWith('.npy') ? (name: string) => name : wholeName
  const pictures = await Promise.all(
    names.map(async (name) => ({ name: nameOf(name), input: await readImage(name, session) })),
  )
  const fail = (needs: string) => new LlavaError('INVALID_ARGUMENT', `${kind} takes ${needs}`)
  if (pictureKinds.includes(kind)) {
    if (pictures.length === 0 || texts.length > 0) throw fail('pictures, and no --text')
    return pictures
  }
  if (texts.length === 0) throw fail('--text')
  if (pictures.length === 0) return texts.map((text) => ({ name: text, input: { text } }))
  const [text, ...more] = texts
  if (kind === 'clip_text') throw fail('--text, and no pictures')
  if (text === undefined || more.length > 0) throw fail('one --text for all pictures, or several without pictures')
  return pictures.map(({ name, input }) => ({ name, input: { text, images: input } }))
}

/** A URL as it is, a path from the root. */
function wholeName(name: string): string {
  return /^[a-z][a-z0-9+.-]*:/i.test(name) && !existsSync(name) ? name : path.resolve(name)
}

type Options = Pick<EmbedOptions, 'kind' | 'normalize' | 'signal' | 'template'>

/** A line of JSON for each. */
async function writeLines(
  model: LLaVA,
  inputs: readonly NamedInput[],
  options: Options,
  session: Session,
): Promise<void> {
  await eachEmbedding(model, inputs, { ...options, dtype: 'f32' }, session, (name, { kind, shape, data }) => {
    writeLine({ input: name, kind, shape, data: [...data] })
  })
}

/** All of them as one array [inputs, …]. */
async function writeFile(
  model: LLaVA,
  inputs: readonly NamedInput[],
  file: string,
  options: Options,
  { dtype = 'f32', json }: EmbedFlags,
  session: Session,
): Promise<void> {
  const embeddings: Embedding<DirectoryDtype>[] = []
  await eachEmbedding(model, inputs, { ...options, dtype }, session, (_, embedding) => embeddings.push(embedding))
  const shape = [embeddings.length, ...(embeddings[0]?.shape ?? [])]
  const length = shape.reduce((product, side) => product * side, 1)
  const all = new arrays[dtype](length)
  let at = 0
  for (const { data } of embeddings) {
    all.set(data, at)
    at += data.length
  }
  await saveNpy(file, shape, all)
  const { kind } = options
  if (json === true) writeLine({ file, kind, dtype, shape, inputs: inputs.map(({ name }) => name) })
  else process.stdout.write(`${file}  ${kind} ${dtype} [${shape.join(', ')}]\n`)
}

const arrays = { f32: Float32Array, f16: Uint16Array, int8: Int8Array, binary: Uint8Array } as const satisfies Record<
  DirectoryDtype,
  unknown
>

/** Calls `take` with each vector in turn; the first input that fails ends the run. */
async function eachEmbedding<Dtype extends DirectoryDtype>(
  model: LLaVA,
  inputs: readonly NamedInput[],
  options: EmbedOptions<Dtype>,
  session: Session,
  take: (name: string, embedding: Embedding<Dtype>) => void,
): Promise<void> {
  const sources: readonly EmbedInput[] = inputs.map(({ input }) => input)
  for await (const { index, embedding, error } of model.embedMany(sources, options)) {
    if (error !== undefined) throw error
    const name = inputs[index]?.name ?? ''
    session.status(`${name} … ${index + 1}/${inputs.length}`)
    take(name, embedding)
  }
  session.status('')
}

/** Shards in a directory; what fails is told in a file there, and the exit code is then 1. */
async function writeDirectory(
  model: LLaVA,
  inputs: readonly NamedInput[],
  directory: string,
  options: Options,
  flags: EmbedFlags,
  session: Session,
): Promise<void> {
  const { dtype, shardSize, retryErrors, json } = flags
  const names = inputs.every(({ input }) => isTextAlone(input)) ? 'caption' : 'image_path'
  const result = await withBar(session, (onProgress) =>
    embedToDirectory(model, inputs, directory, {
      ...options,
      ...(dtype !== undefined && { dtype }),
      ...(shardSize !== undefined && { shardSize }),
      ...(retryErrors !== undefined && { retryErrors }),
      ...(flags.autoOrient !== undefined && { autoOrient: flags.autoOrient }),
      names,
      settings: settingsOf(flags, names),
      onProgress,
    }),
  )
  const { embedded, present, failed, rows, shards } = result
  if (json === true) writeLine(result)
  else
    process.stdout.write(
      `${directory}  ${rows} vectors in ${shards} files; ${embedded} new, ${present} there before, ${failed} failed\n`,
    )
  if (failed === 0) return
  const file = path.join(directory, 'errors.jsonl')
  session.failed(
    new LlavaError(
      'IMAGE_UNREADABLE',
      `${failed} of ${embedded + present + failed} inputs have no vector; ${file} says why`,
    ),
    json === true,
  )
}

function isTextAlone(input: EmbedInput): boolean {
  return typeof input === 'object' && 'text' in input && !('images' in input)
}

/** What the vectors depend on that the model itself does not say. */
function settingsOf(flags: EmbedFlags, names: NameColumn): Readonly<Record<string, string | number>> {
  const { clip, adapter, visionTower, mmproj, visionFeatureLayer, imageAspectRatio, text = [] } = flags
  const files = { clip, adapter, visionTower, mmproj }
  const paths = Object.entries(files).map(([name, file]) => [name, file === undefined ? undefined : path.resolve(file)])
  const prompt = names === 'image_path' ? text[0] : undefined
  const all = { ...Object.fromEntries(paths), visionFeatureLayer, imageAspectRatio, prompt } as Readonly<
    Record<string, string | number | undefined>
  >
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string | number] => entry[1] !== undefined),
  )
}

/** Shows how far the work is, and what it waits for. */
async function withBar<T>(
  session: Session,
  work: (onProgress: (progress: DirectoryProgress) => void) => Promise<T>,
): Promise<T> {
  using bar = new ProgressBar('embedding', 'inputs')
  return await work(({ stage, done, total, failed }) => {
    if (stage === 'wait') session.status('an earlier run may be at work in the directory; waiting …')
    else {
      session.status('')
      bar.update(failed === 0 ? '' : `${failed} failed`, done, total)
    }
  })
}

function writeLine(facts: object): void {
  process.stdout.write(`${JSON.stringify(facts)}\n`)
}
