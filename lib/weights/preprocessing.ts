// preprocessor_config.json (or the image_processor of a 5.x processor_config.json) -> how a picture becomes pixel_values.
// CLIPImageProcessor resizes the shortest edge and crops the centre; LlavaImageProcessor with do_pad makes the picture square first.

import type { ImageProcessorSpec } from '../image/image-processor.js'
import type { Fields } from './fields.js'
import { unsupported } from './model-error.js'

export const clipMean = [0.48145466, 0.4578275, 0.40821073] as const
export const clipStd = [0.26862954, 0.26130258, 0.27577711] as const

// Pillow's number for it.
const kBicubic = 3

/** @param config `undefined` when the checkpoint has none: then CLIP's own processor at the tower's image size. */
export function imageProcessorFromConfig(
  config: Fields | undefined,
  imageSize: number,
  aspectOption: 'pad' | 'crop' | undefined,
): ImageProcessorSpec {
  const plain = {
    imageSize,
    aspectRatio: aspectOption ?? 'crop',
    mean: clipMean,
    std: clipStd,
    rescaleFactor: 1 / 255,
    shortestEdge: imageSize,
  } as const
  return config === undefined ? plain : fromConfig(config, imageSize, aspectOption)
}

function fromConfig(config: Fields, imageSize: number, aspectOption: 'pad' | 'crop' | undefined): ImageProcessorSpec {
  const aspectRatio = aspectOption ?? (config.boolean('do_pad') === true ? 'pad' : 'crop')
  const shortestEdge = edge(config, 'size', aspectRatio === 'pad') ?? imageSize
  const normalizes = config.boolean('do_normalize') !== false
  refuseOtherProcessors(config, imageSize, shortestEdge, aspectRatio)
  return {
    imageSize,
    aspectRatio,
    mean: normalizes ? (channels(config, 'image_mean') ?? clipMean) : [0, 0, 0],
    std: normalizes ? (channels(config, 'image_std', 0) ?? clipStd) : [1, 1, 1],
    rescaleFactor: config.boolean('do_rescale') === false ? 1 : (config.number('rescale_factor', 0) ?? 1 / 255),
    shortestEdge,
  }
}

function refuseOtherProcessors(config: Fields, imageSize: number, shortestEdge: number, aspectRatio: 'pad' | 'crop'): void {
  const kind = config.string('image_processor_type') ?? config.string('feature_extractor_type') ?? 'CLIPImageProcessor'
  const crop = edge(config, 'crop_size', true) ?? imageSize
  const crops = config.boolean('do_center_crop') !== false || (aspectRatio === 'pad' && shortestEdge === imageSize)
  const refusals: readonly (readonly [boolean, string, string])[] = [
    [
      !/^(?:CLIP|Llava)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?$/.test(kind),
      `image processor "${kind}"`,
      'CLIPImageProcessor, LlavaImageProcessor',
    ],
    [config.boolean('do_resize') === false, 'pictures that are not resized', '`do_resize` true'],
    [!crops, 'pictures that are not cropped', '`do_center_crop` true'],
    [(config.integer('resample', 0) ?? kBicubic) !== kBicubic, `resampling filter ${config.integer('resample', 0)}`, `${kBicubic} (bicubic)`],
    [crop !== imageSize, `pictures cropped to ${crop}`, `${imageSize}, the image size of the vision tower`],
    [shortestEdge < imageSize, `pictures resized to ${shortestEdge}`, `at least ${imageSize}, the image size of the vision tower`],
  ]
  for (const [applies, what, supported] of refusals) if (applies) throw unsupported(config.where, what, supported)
}

/** `336`, `{"shortest_edge": 336}` or a square `{"height": 336, "width": 336}`. Resizing to a square without padding would distort: refused. */
function edge(config: Fields, key: string, squareAllowed: boolean): number | undefined {
  if (typeof config.raw(key) !== 'object') return config.integer(key)
  const size = config.object(key)
  const shortest = size?.integer('shortest_edge')
  if (size === undefined || shortest !== undefined) return shortest
  const height = size.required('height', size.integer('height'))
  if (height !== size.integer('width') || !squareAllowed)
    throw unsupported(size.where, 'pictures resized to a given height and width', '{"shortest_edge": n}')
  return height
}

/** One number per channel, or one for all; each above `above`. */
export function channels(fields: Fields, key: string, above = -Infinity): readonly [number, number, number] | undefined {
  const value = fields.raw(key)
  if (value === undefined) return undefined
  const [red, green, blue, ...more] = typeof value === 'number' ? [value, value, value] : (fields.numbers(key) ?? [])
  if (red === undefined || green === undefined || blue === undefined || more.length > 0 || Math.min(red, green, blue) <= above) {
    throw fields.mistake(key, above === 0 ? 'three positive numbers' : 'three numbers')
  }
  return [red, green, blue]
}
