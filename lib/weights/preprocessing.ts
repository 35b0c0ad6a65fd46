// preprocessor_config.json (or the image_processor of a 5.x processor_config.json) -> how a picture becomes pixel_values.
// CLIPImageProcessor resizes the shortest edge and crops the centre; LlavaImageProcessor with do_pad makes the picture square first;
// SiglipImageProcessor resizes height and width apart from each other, as CLIPImageProcessor does when it is given both.

import type { ImageAspectRatio, ImageProcessorSpec } from '../image/image-processor.js'
import type { VisionConfig } from '../native.js'
import type { Fields } from './fields.js'
import { unsupported } from './model-error.js'

export const clipMean = [0.48145466, 0.4578275, 0.40821073] as const
export const clipStd = [0.26862954, 0.26130258, 0.27577711] as const

export const imageAspectRatios = ['pad', 'crop', 'stretch'] as const satisfies readonly ImageAspectRatio[]

/** What a tower's own processor does where a file says nothing. */
const processors = {
  clip: { mean: clipMean, std: clipStd, aspectRatio: 'crop' },
  siglip: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], aspectRatio: 'stretch' },
} as const satisfies Readonly<Record<string, Pick<ImageProcessorSpec, 'mean' | 'std' | 'aspectRatio'>>>

// Pillow's number for it.
const bicubicFilter = 3

/** @param config `undefined` when the checkpoint has none: then the tower's own processor at its image size. */
export function imageProcessorFromConfig(
  config: Fields | undefined,
  { tower = 'clip', imageSize }: Pick<VisionConfig, 'tower' | 'imageSize'>,
  aspectOption: ImageAspectRatio | undefined,
): ImageProcessorSpec {
  const own = processors[tower]
  if (config !== undefined) return fromConfig(config, imageSize, aspectOption)
  return {
    ...own,
    imageSize,
    aspectRatio: aspectOption ?? own.aspectRatio,
    rescaleFactor: 1 / 255,
    shortestEdge: imageSize,
  }
}

function fromConfig(config: Fields, imageSize: number, aspectOption: ImageAspectRatio | undefined): ImageProcessorSpec {
  const kind = processorKind(config)
  const own = processors[kind]
  const aspectRatio = aspectOption ?? statedAspectRatio(config, kind)
  const shortestEdge = edge(config, 'size') ?? imageSize
  const normalizes = config.boolean('do_normalize') !== false
  refuseOtherProcessors(config, imageSize, shortestEdge, aspectRatio)
  return {
    imageSize,
    aspectRatio,
    mean: normalizes ? (channels(config, 'image_mean') ?? own.mean) : [0, 0, 0],
    std: normalizes ? (channels(config, 'image_std', 0) ?? own.std) : [1, 1, 1],
    rescaleFactor: config.boolean('do_rescale') === false ? 1 : (config.number('rescale_factor', 0) ?? 1 / 255),
    shortestEdge,
  }
}

function processorKind(config: Fields): keyof typeof processors {
  const name = config.string('image_processor_type') ?? config.string('feature_extractor_type') ?? 'CLIPImageProcessor'
  const [, family] = /^(CLIP|Llava|Siglip)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?$/.exec(name) ?? []
  if (family === undefined)
    throw unsupported(
      config.where,
      `image processor "${name}"`,
      'CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor',
    )
  return family === 'Siglip' ? 'siglip' : 'clip'
}

function statedAspectRatio(config: Fields, kind: keyof typeof processors): ImageAspectRatio {
  if (config.boolean('do_pad') === true) return 'pad'
  const size = config.raw('size')
  if (size === undefined) return processors[kind].aspectRatio
  return typeof size === 'object' && config.object('size')?.has('height') === true ? 'stretch' : 'crop'
}

function refuseOtherProcessors(
  config: Fields,
  imageSize: number,
  shortestEdge: number,
  aspectRatio: ImageAspectRatio,
): void {
  const crop = edge(config, 'crop_size') ?? imageSize
  const isSquare = aspectRatio !== 'crop' && shortestEdge === imageSize
  const crops =
    processorKind(config) === 'siglip'
      ? config.boolean('do_center_crop') === true
      : config.boolean('do_center_crop') !== false
  const refusals: readonly (readonly [boolean, string, string])[] = [
    [config.boolean('do_resize') === false, 'pictures that are not resized', '`do_resize` true'],
    [!crops && !isSquare, 'pictures that are not cropped', '`do_center_crop` true'],
    [
      aspectRatio === 'stretch' && shortestEdge !== imageSize,
      `pictures stretched to ${shortestEdge}`,
      `${imageSize}, the image size of the vision tower`,
    ],
    [
      (config.integer('resample', 0) ?? bicubicFilter) !== bicubicFilter,
      `resampling filter ${config.integer('resample', 0)}`,
      `${bicubicFilter} (bicubic)`,
    ],
    [crops && crop !== imageSize, `pictures cropped to ${crop}`, `${imageSize}, the image size of the vision tower`],
    [
      shortestEdge < imageSize,
      `pictures resized to ${shortestEdge}`,
      `at least ${imageSize}, the image size of the vision tower`,
    ],
  ]
  for (const [applies, what, supported] of refusals) if (applies) throw unsupported(config.where, what, supported)
}

/** The `preprocess_cfg` of an open_clip_config.json; without one, CLIP's own. */
export function openClipProcessor(config: Fields | undefined, imageSize: number): ImageProcessorSpec {
  const plain = imageProcessorFromConfig(undefined, { imageSize }, undefined)
  if (config === undefined) return plain
  const size = config.raw('size')
  const sides = Array.isArray(size) ? size : [size ?? imageSize]
  const mode = config.string('resize_mode') ?? 'shortest'
  const refusals: readonly (readonly [boolean, string, string])[] = [
    [sides.some((side) => side !== imageSize), `pictures of ${JSON.stringify(size)}`, String(imageSize)],
    [mode !== 'shortest' && mode !== 'squash', `\`resize_mode\` "${mode}"`, 'shortest, squash'],
    [(config.string('interpolation') ?? 'bicubic') !== 'bicubic', 'another interpolation', 'bicubic'],
  ]
  for (const [applies, what, supported] of refusals) if (applies) throw unsupported(config.where, what, supported)
  return {
    ...plain,
    aspectRatio: mode === 'squash' ? 'stretch' : 'crop',
    mean: channels(config, 'mean') ?? plain.mean,
    std: channels(config, 'std', 0) ?? plain.std,
  }
}

/** `336`, `{"shortest_edge": 336}` or a square `{"height": 336, "width": 336}`. */
function edge(config: Fields, key: string): number | undefined {
  if (typeof config.raw(key) !== 'object') return config.integer(key)
  const size = config.object(key)
  const shortest = size?.integer('shortest_edge')
  if (size === undefined || shortest !== undefined) return shortest
  const height = size.required('height', size.integer('height'))
  if (height !== size.integer('width'))
    throw unsupported(size.where, 'pictures that are not square', 'equal `height` and `width`')
  return height
}

/** One number per channel, or one for all; each above `above`. */
export function channels(
  fields: Fields,
  key: string,
  above = -Infinity,
): readonly [number, number, number] | undefined {
  const value = fields.raw(key)
  if (value === undefined) return undefined
  const [red, green, blue, ...more] = typeof value === 'number' ? [value, value, value] : (fields.numbers(key) ?? [])
  if (
    red === undefined ||
    green === undefined ||
    blue === undefined ||
    more.length > 0 ||
    Math.min(red, green, blue) <= above
  ) {
    throw fields.mistake(key, above === 0 ? 'three positive numbers' : 'three numbers')
  }
  return [red, green, blue]
}
