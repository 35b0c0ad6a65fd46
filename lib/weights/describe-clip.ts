// Opens a CLIP's or SigLIP's files far enough to say what it is. No weight is read but its scale.

import path from 'node:path'
import { readdir, stat } from 'node:fs/promises'
import { describedClip, type ClipDescription } from './clip-description.js'
import { statedClipModel } from './clip-directory.js'
import { isClipGguf, statedClipGguf } from './clip-gguf.js'
import { readJsonFields } from './fields.js'
import { readGgufHeader } from './gguf.js'
import { notFound } from './model-error.js'
import { isOpenClip, statedOpenClip } from './open-clip.js'

/**
 * Describes the CLIP at `location`: a directory as transformers saves a CLIPModel or a SiglipModel or as open_clip
 * publishes a CLIP, or a GGUF that `convertModel` made of any of them.
 * @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT or MODEL_UNSUPPORTED.
 */
export async function describeClip(location: string): Promise<ClipDescription> {
  const absolute = path.resolve(location)
  if (!(await isDirectory(absolute))) return describedClip(await statedClipGguf(absolute))
  const names = new Set(await readdir(absolute))
  return describedClip(await (isOpenClip(names) ? statedOpenClip(absolute, names) : statedClipModel(absolute)))
}

/** Whether a whole CLIP is there, rather than a LLaVA, something else or nothing. */
export async function isClip(location: string): Promise<boolean> {
  const absolute = path.resolve(location)
  const found = await stat(absolute).catch(() => undefined)
  if (found?.isFile() === true && /\.gguf$/i.test(absolute))
    return isClipGguf((await readGgufHeader(absolute)).metadata)
  if (found?.isDirectory() !== true) return false
  const config = await readJsonFields(path.join(absolute, 'config.json'))
  return config === undefined
    ? isOpenClip(new Set(await readdir(absolute)))
    : ['clip', 'siglip'].includes(String(config.raw('model_type')))
}

async function isDirectory(location: string): Promise<boolean> {
  try {
    return (await stat(location)).isDirectory()
  } catch (cause) {
    throw notFound(location, 'there is no such file or directory', cause)
  }
}
