// A CLIP as open_clip publishes it is the same CLIP: the tiny checkpoint of transformers under open_clip's names, its
// projections transposed and its query, key and value matrices in one, gives the same vectors bit for bit.

import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CLIP, type ClipInput } from '../../lib/index.js'
import { describeClip } from '../../lib/weights/describe-clip.js'
import { zerosFile } from './pytorch-file.js'
import { writeFiles } from './tiny-llava.js'
import { openClip, openClipConfig, openClipTensors, tensorsOf } from './tiny-open-clip.js'

const checkpoint = fileURLToPath(new URL('../../../test/fixtures/clip/checkpoint/', import.meta.url))
const picture = path.join(checkpoint, '../../pictures/rgb.png')
const packaged = fileURLToPath(new URL('../../../models/clip/', import.meta.url))

const inputs: readonly ClipInput[] = [picture, { text: 'a red square' }, { text: 'A cat, and the rest of it …' }]

for (const [name, directory] of [
  ['float32', checkpoint],
  ['the float16 one of the package', packaged],
] as const) {
  test(`under open_clip's names the vectors are the same bits: ${name}`, async (t) => {
    await using theirs = await CLIP.open(await openClip(t, directory), { threads: 2 })
    await using ours = await CLIP.open(directory, { threads: 2 })
    t.deepEqual(await theirs.embed(inputs), await ours.embed(inputs))
    t.deepEqual({ ...theirs.info(), path: directory }, { ...ours.info(), path: directory })
  })
}

test('a text tower under `text.`, as CustomTextCLIP has it, is the same', async (t) => {
  const folder = await openClip(t, checkpoint, (tensors) =>
    tensors.map((tensor) =>
      tensor.name.startsWith('visual.') || tensor.name === 'logit_scale'
        ? tensor
        : { ...tensor, name: `text.${tensor.name}` },
    ),
  )
  await using custom = await CLIP.open(folder, { threads: 2 })
  await using plain = await CLIP.open(checkpoint, { threads: 2 })
  t.deepEqual(await custom.embed(inputs), await plain.embed(inputs))
})

test('its .bin is read as well, and a directory with both forms is read as transformers has it', async (t) => {
  const folder = await openClip(t, checkpoint)
  const names = openClipTensors(await tensorsOf(checkpoint)).map(({ name, shape }) => [name, shape] as const)
  await writeFiles(folder, { 'open_clip_pytorch_model.bin': zerosFile(names) })
  rmSync(path.join(folder, 'open_clip_model.safetensors'))
  const clip = await describeClip(folder)
  t.true(clip.files.every((file) => file.endsWith('open_clip_pytorch_model.bin')))
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(path.join(checkpoint, name), path.join(folder, name))
  t.deepEqual((await describeClip(folder)).files, [path.join(folder, 'model.safetensors')])
})

test('what is another architecture, or damaged, is said with a code', async (t) => {
  const folder = await openClip(t, checkpoint)
  const open = (change: (config: ReturnType<typeof openClipConfig>) => void) => {
    const config = openClipConfig(checkpoint)
    change(config)
    writeFileSync(path.join(folder, 'open_clip_config.json'), JSON.stringify(config))
    return describeClip(folder)
  }
  const vision = (config: ReturnType<typeof openClipConfig>) =>
    config.model_cfg['vision_cfg'] as Record<string, unknown>
  const text = (config: ReturnType<typeof openClipConfig>) => config.model_cfg['text_cfg'] as Record<string, unknown>
  const unsupported = { code: 'MODEL_UNSUPPORTED' } as const
  await t.throwsAsync(
    open((config) => (vision(config)['timm_model_name'] = 'vit')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (vision(config)['layers'] = [3, 4, 6, 3])),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['hf_model_name'] = 'roberta')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['pool_type'] = 'last')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (config.preprocess_cfg = { interpolation: 'bilinear' })),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['width'] = 48)),
    { code: 'MODEL_CORRUPT' },
  )
  await t.throwsAsync(
    open((config) => delete config.model_cfg['text_cfg']),
    { code: 'MODEL_CORRUPT' },
  )
  const cut = await openClip(t, checkpoint, (tensors) => tensors.filter(({ name }) => !name.includes('in_proj_bias')))
  await t.throwsAsync(describeClip(cut), { code: 'MODEL_CORRUPT', message: /q_proj\.bias/ })
  rmSync(path.join(cut, 'open_clip_model.safetensors'))
  await t.throwsAsync(describeClip(cut), { code: 'MODEL_NOT_FOUND', message: /open_clip_model\.safetensors/ })
})
