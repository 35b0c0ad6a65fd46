// llava trace IMAGE --prompt TEXT --out FILE

import type { Command } from 'commander'
import { saveTrace } from '../index.js'
import { addModelFlags, integer, openModel, type ModelFlags } from './flags.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'

const help = {
  about: [
    'Runs exactly TEXT, which holds <image> once: no template is added, keys and values are float32, arithmetic is exact, EXIF is not applied.',
    'Writes pixel_values [3,S,S], image_features [N,Dv], projected [N,D], input_ids [T] (the image token N times; -200 where the vocabulary has none), ' +
      'logits [T,V] and generated [n] (greedy, not stopped by EOS) as safetensors, in float32 and int32.',
  ],
  examples: [
    String.raw`llava trace cat.png --prompt $'USER: <image>\nWhat is this? ASSISTANT:' --model llava-1.5-7b-hf --out cat.safetensors`,
  ],
  json: ['With --json: {"file","tensors":{NAME: SHAPE}}'],
}

interface TraceFlags extends ModelFlags {
  readonly prompt: string
  readonly out: string
  readonly maxTokens: number
}

export function addTrace(program: Command, session: Session): void {
  const command = addModelFlags(program.command('trace'))
    .description('write every stage of one run, to hold against another implementation')
    .argument('<image>', 'the picture')
    .requiredOption('-p, --prompt <text>', 'the whole prompt, with <image> in it')
    .requiredOption('-o, --out <file>', 'the safetensors file to write')
    .option('-n, --max-tokens <n>', 'tokens to generate', integer, 16)
    .action((image: string, flags: TraceFlags) => trace(image, flags, session))
  addHelp(command, help)
}

async function trace(image: string, flags: TraceFlags, session: Session): Promise<void> {
  const model = await openModel(flags, session, { kvCache: 'f32', arithmetic: 'exact', autoOrient: false })
  try {
    session.status('running …')
    const result = await model.trace(image, flags.prompt, { maxTokens: flags.maxTokens, signal: session.signal })
    session.status('')
    await saveTrace(result, flags.out)
    const shapes = {
      pixel_values: result.pixelValues.shape,
      image_features: result.imageFeatures.shape,
      projected: result.projected.shape,
      input_ids: result.inputIds.shape,
      logits: result.logits.shape,
      generated: result.generated.shape,
    }
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ file: flags.out, tensors: shapes })}\n`)
    else
      process.stdout.write(
        Object.entries(shapes)
          .map(([name, shape]) => `${name.padEnd(16)}[${shape.join(', ')}]\n`)
          .join(''),
      )
  } finally {
    model.dispose()
  }
}
