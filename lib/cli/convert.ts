// llava convert SOURCE --out FILE --type TYPE

import { Option, type Command } from 'commander'
import { convertModel, conversionTypes, visionTypes, type ConvertOptions, type ConvertedModel } from '../index.js'
import { integer } from './flags.js'
import { addHelp } from './help.js'
import { ProgressBar } from './progress-bar.js'
import type { Session } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    'SOURCE is what --model takes elsewhere: a checkpoint directory, a GGUF, a pair, or a name that was pulled. ' +
      "The single file holds everything; it is this package's own form, and `llava ask --model FILE` opens it.",
    'OUT is the file; or a folder, which is made where the name ends in a slash. With --pair it may be what both names ' +
      'are made of: out/tiny gives out/tiny.gguf and out/mmproj-tiny.gguf, which llama.cpp opens. There a question stands ' +
      'on a line of its own after the picture, as in the last example.',
    'SOURCE may also be a CLIP by itself (a directory as transformers or open_clip have it): one file with both towers, for the flag --clip ' +
      'of `llava embed`; --type is then one of f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, and of the text tower too.',
    'A file only gets its name once it is whole; Ctrl-C leaves nothing behind.',
  ],
  examples: [
    'llava convert llava-1.5-7b-hf --type q4_k_m --out llava-1.5-7b.Q4_K_M.gguf',
    'llava convert llava-v1.5-7b --vision-tower clip-vit-large-patch14-336 --type q8_0 --pair --out models/llava',
    'llava convert clip-vit-large-patch14 --type q8_0 --out clip.gguf',
    'llava convert vicuna-7b --adapter llava-lora --type f16 --out merged.gguf --json',
    String.raw`llama-mtmd-cli -m out/tiny.gguf --mmproj out/mmproj-tiny.gguf --image cat.jpg -p $'<__media__>\nWhat is this?' ` +
      '--chat-template vicuna --temp 0',
  ],
  json: ['With --json: {"files":[{"path","nbytes"}],"weightDtypes":{TYPE: BYTES},"requantised","elapsedMs"}'],
}

interface ConvertFlags extends Omit<ConvertOptions, 'overwrite' | 'signal' | 'onPlan' | 'onProgress'> {
  readonly out: string
  readonly force?: boolean
  readonly json?: boolean
}

export function addConvert(program: Command, session: Session): void {
  const command = program
    .command('convert')
    .description('write a model as GGUF: one file, or the pair that llama.cpp opens')
    .argument('<source>', 'Hugging Face or original checkpoint directory, GGUF, or a name that was pulled')
    .requiredOption('-o, --out <path>', 'the file to write, or a folder; with --pair also what both names begin with')
    .addOption(
      new Option('--type <type>', "the language model's matrices").choices(conversionTypes).makeOptionMandatory(),
    )
    .addOption(
      new Option(
        '--vision-type <type>',
        'matrices of tower and projector (default: f32 for f32, bf16 for bf16, else f16; what is smaller stays as it is)',
      ).choices(visionTypes),
    )
    .option('--pair', 'language model and mmproj as two files')
    .option('--force', 'replace files that are there')
    .option('--mmproj <file>', 'vision half of a GGUF pair, if it is not the only one beside the model')
    .option('--vision-tower <directory>', 'CLIP of an original LLaVA checkpoint')
    .option('--adapter <path>', 'LoRA adapter to merge')
    .option('-t, --threads <n>', 'compute threads (default: as many as the process may use)', integer)
    .option('--vision-feature-layer <n>', "overrides the checkpoint's vision layer", integer)
    .addOption(
      new Option('--image-aspect-ratio <how>', 'overrides how pictures are made square').choices([
        'pad',
        'crop',
        'stretch',
      ]),
    )
    .option('--json', 'machine-readable output')
    .action((source: string, flags: ConvertFlags) => convert(source, flags, session))
  addHelp(command, help)
}

async function convert(
  source: string,
  { out, force, json, ...options }: ConvertFlags,
  session: Session,
): Promise<void> {
  using bar = new ProgressBar('converting')
  const result = await convertModel(source, out, {
    ...options,
    ...(force === true && { overwrite: true }),
    signal: session.signal,
    onPlan: ({ requantised }) => {
      if (requantised > 0)
        session.warn(
          `${requantised} matrices are quantised already; quantising them again loses more than converting the original does`,
        )
    },
    onProgress: ({ tensor, done, total }) => {
      bar.update(tensor, done, total)
    },
  })
  bar[Symbol.dispose]()
  process.stdout.write(json === true ? `${JSON.stringify(result)}\n` : sentences(result))
}

function sentences({ files, weightDtypes, elapsedMs }: ConvertedModel): string {
  const dtypes = Object.entries(weightDtypes).map(([dtype, nbytes]) => `${dtype} ${size(nbytes)}`)
  const lines = files.map(({ path, nbytes }) => `${path}  ${size(nbytes)}`)
  return [...lines, `${dtypes.join(', ')}; ${(elapsedMs / 1000).toFixed(1)} s`].map((line) => `${line}\n`).join('')
}
