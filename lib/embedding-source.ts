// What `embed` takes its vectors from: the model's tower, its decoder, and the CLIP beside it.

import { userMessage } from './answers/request.js'
import { promptSegments, type PromptWriter } from './answers/prompt-writer.js'
import type { EmbedOptions, EmbedPrompt, EmbeddingSource } from './embedding.js'
import type { ClipEngine, LazyClip } from './engine/clip-engine.js'
import { EncodedImage } from './engine/encoded-image.js'
import type { Engine } from './engine/engine.js'
import type { Job } from './engine/job.js'
import type { PictureEncoder } from './engine/picture-encoder.js'
import { LlavaError, invalidArgument } from './errors.js'
import { conversationImages } from './prompt/templates.js'

/** What a model is made of, as far as vectors need it. */
export interface EmbeddingModel {
  readonly engine: Engine
  readonly prompts: PromptWriter
  readonly pictures: PictureEncoder
  readonly clip: LazyClip | undefined
}

/** Of one call. */
export function embeddingSource(model: EmbeddingModel, options: EmbedOptions, job: Job): EmbeddingSource {
  const { engine, pictures } = model
  const clip = async (): Promise<ClipEngine> => {
    if (model.clip !== undefined) return job.race(model.clip.open())
    const what = "a LLaVA checkpoint has neither CLIP's last layers nor its text tower"
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${what}: \`${options.kind}\` needs a model opened with the option \`clip\`, a whole CLIP checkpoint`,
    )
  }
  return {
    visionWidth: engine.config.vision?.hiddenSize ?? 0,
    textWidth: engine.config.text.hiddenSize,
    picture: (image, result) => pictures.result(image, result, options, job),
    hidden: (prompt, all) => hiddenStates(model, prompt, all, options, job),
    clipImage: async (image) => {
      if (image instanceof EncodedImage)
        throw invalidArgument('input', 'the picture itself, which CLIP reads in its own way', image)
      const processor = async () => (await clip()).description.imageProcessor
      return pictures.through(image, processor, options, job, async (values) => (await clip()).image(values, job))
    },
    clipText: async (text) => (await clip()).text(text, job),
  }
}

/** After the decoder's final norm: after the last position [D], or after each [positions, D]. */
async function hiddenStates(
  { engine, prompts, pictures }: EmbeddingModel,
  { text, images = [] }: EmbedPrompt,
  all: boolean,
  options: EmbedOptions,
  job: Job,
): Promise<Float32Array> {
  const message = userMessage(images, text)
  const parts = prompts.parts([message], options.template ?? 'plain', options.system)
  const sources = conversationImages([message])
  const cleanUp: (() => void)[] = []
  try {
    const taken = pictures.takeAll(sources, options, cleanUp, job)
    const prompt = await prompts.cut(parts, sources.length)
    if (prompt.positions === 0) throw invalidArgument('input', 'a prompt of one token at least', text)
    cleanUp.push(await engine.enter(prompt.positions, 0, 1, job))
    const encoded = await pictures.encodeAll(taken, cleanUp, job, undefined)
    return await engine.hidden(promptSegments(prompt, encoded), all, job)
  } finally {
    for (const clean of cleanUp) clean()
  }
}
