// llava embed IMAGE… [--text T] --kind K --out FILE.npy

import { InvalidArgumentError, Option, type Command } from 'commander'
import { LlavaError, type EmbedInput, type Embedding, type EmbeddingDtype, type EmbeddingKind } from '../index.js'
import {
  addImageFlags,
  addModelFlags,
  collect,
  imageOptions,
  openModel,
  readImage,
  type ImageFlags,
  type ModelFlags,
} from './flags.js'
import { addHelp } from './help.js'
import { writeNpy } from './npy.js'
import type { Session } from './session.js'

const help = {
  about: [
    'Prompts are the texts; with pictures, each picture with the text. "-" reads a picture from stdin. The file holds one entry for each input, in order: [inputs, …].',
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
  },
  examples: [
    'llava embed *.jpg --kind projected_mean --normalize --out pictures.npy',
    'llava embed cat.jpg --text "What is it?" --kind hidden_last --json',
    'llava embed --clip clip-vit-large-patch14-336 --text "a cat" --text "a dog" --kind clip_text --out texts.npy',
  ],
  json: [
    'Without --out: a line for each input, {"input","kind","shape","data"}. With --out and --json: {"file","kind","dtype","shape","inputs"}',
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
  readonly clip?: string
  readonly normalize?: boolean
  readonly dtype: EmbeddingDtype
  readonly template?: 'plain'
  readonly out?: string
}

export function addEmbed(program: Command, session: Session): void {
  const command = addImageFlags(addModelFlags(program.command('embed')))
    .description('turn pictures and texts into vectors')
    .argument('[images...]', 'pictures')
    .addOption(new Option('-k, --kind <kind>', 'what to take for the vector').choices(kinds).makeOptionMandatory())
    .option('--text <text>', 'a text; may be given several times', collect)
    .option('-o, --out <file>', 'the .npy file to write', npyName)
    .option('--normalize', 'scale each vector to length 1')
    .addOption(new Option('--dtype <dtype>', 'element type of the file').choices(['f32', 'f16']).default('f32'))
    .option(
      '--clip <path>',
      'a CLIP checkpoint (directory, or GGUF that llava convert made of one), for clip_image and clip_text',
    )
    .option('--template <name>', 'prompt format of hidden_last and hidden_mean (default: plain)')
    .action((images: readonly string[], flags: EmbedFlags) => embed(images, flags, session))
  addHelp(command, help)
}

function npyName(value: string): string {
  if (!value.endsWith('.npy')) throw new InvalidArgumentError('It does not end in .npy.')
  return value
}

interface Named {
  readonly name: string
  readonly input: EmbedInput
}

async function embed(images: readonly string[], flags: EmbedFlags, session: Session): Promise<void> {
  const inputs = await inputsOf(images, flags, session)
  const model = await openModel(flags, session, {
    ...imageOptions(flags),
    ...(flags.clip !== undefined && { clip: flags.clip }),
  })
  try {
    const { kind, normalize = false, dtype, template, out } = flags
    const embeddings: Embedding[] = []
    const options = { kind, normalize, signal: session.signal, ...(template !== undefined && { template }) }
    const results = model.embedMany(
      inputs.map(({ input }) => input),
      { ...options, dtype: out === undefined ? 'f32' : dtype },
    )
    for await (const { index, embedding, error } of results) {
      if (error !== undefined) throw error
      const name = inputs[index]?.name ?? ''
      session.status(`${name} … ${index + 1}/${inputs.length}`)
      if (out !== undefined) embeddings.push(embedding)
      else writeLine({ input: name, kind, shape: embedding.shape, data: [...embedding.data] })
    }
    session.status('')
    if (out !== undefined) await save(out, inputs, embeddings, flags)
  } finally {
    model.dispose()
  }
}

/** Which inputs a kind takes from pictures and texts. */
async function inputsOf(
  images: readonly string[],
  { kind, text: texts = [] }: EmbedFlags,
  session: Session,
): Promise<readonly Named[]> {
  const pictures = await Promise.all(images.map(async (name) => ({ name, input: await readImage(name, session) })))
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

/** All embeddings as one array [inputs, …]. */
async function save(
  file: string,
  inputs: readonly Named[],
  embeddings: readonly Embedding[],
  { kind, dtype, json }: EmbedFlags,
): Promise<void> {
  const shape = [embeddings.length, ...(embeddings[0]?.shape ?? [])]
  const length = shape.reduce((product, side) => product * side, 1)
  const all = dtype === 'f16' ? new Uint16Array(length) : new Float32Array(length)
  let at = 0
  for (const { data } of embeddings) {
    all.set(data, at)
    at += data.length
  }
  await writeNpy(file, shape, all)
  if (json === true) writeLine({ file, kind, dtype, shape, inputs: inputs.map(({ name }) => name) })
  else process.stdout.write(`${file}  ${kind} ${dtype} [${shape.join(', ')}]\n`)
}

function writeLine(facts: object): void {
  process.stdout.write(`${JSON.stringify(facts)}\n`)
}
