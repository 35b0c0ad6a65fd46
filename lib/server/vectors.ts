// Vectors of texts and pictures in one space, for the routes that embed: those of the CLIP beside the model, of length
// 1, so that a dot product is the cosine.

import type { EmbeddingData, EmbeddingDtype, ImageSource, LLaVA } from '../index.js'
import { ApiError, reasons } from './api-error.js'
import type { Call } from './route.js'

export type VectorInput = { readonly text: string } | { readonly image: ImageSource }

/** In the order of the inputs. Fails with 400 where there are too many, or where the model has no CLIP. */
export async function vectorsOf<Dtype extends EmbeddingDtype>(
  model: LLaVA,
  inputs: readonly VectorInput[],
  dtype: Dtype,
  { served, signal }: Call<unknown>,
): Promise<readonly EmbeddingData[Dtype][]> {
  const { inputs: most, pictures: mostPictures } = served.limits
  const texts = inputs.flatMap((input) => ('text' in input ? [input.text] : []))
  const pictures = inputs.flatMap((input) => ('image' in input ? [input.image] : []))
  if (inputs.length > most)
    throw new ApiError(reasons.invalid, `expected at most ${most} inputs, got ${inputs.length}`, { param: 'input' })
  if (pictures.length > mostPictures)
    throw new ApiError(reasons.invalid, `expected at most ${mostPictures} pictures, got ${pictures.length}`)
  const options = { normalize: true, dtype, signal }
  const [ofTexts, ofPictures] = await Promise.all([
    texts.length === 0 ? [] : model.embed(texts, { ...options, kind: 'clip_text' }),
    pictures.length === 0 ? [] : model.embed(pictures, { ...options, kind: 'clip_image' }),
  ])
  const [textVectors, pictureVectors] = [ofTexts.values(), ofPictures.values()]
  return inputs.map((input) => {
    const { value } = ('text' in input ? textVectors : pictureVectors).next()
    return (value as (typeof ofTexts)[number]).data
  })
}

/** Fails with 400 unless vectors have as many values as are asked for: shorter ones were not trained. */
export function checkDimensions(asked: number | null | undefined, width: number | undefined): void {
  if (asked === undefined || asked === null || width === undefined || asked === width) return
  const message = `expected \`dimensions\` to be ${width}, as the model's vectors were trained for no other, got ${asked}`
  throw new ApiError(reasons.unsupported, message, { param: 'dimensions' })
}

/** Tokens in the language model's vocabulary; CLIP's texts are counted no other way. */
export function tokensOf(model: LLaVA, inputs: readonly VectorInput[]): number {
  return inputs.reduce(
    (sum, input) => sum + ('text' in input ? model.tokenize(input.text, { addBos: false }).length : 0),
    0,
  )
}
