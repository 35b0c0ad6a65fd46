// Whether a file or directory is a model of a kind that is opened here, by its header or its config.json alone. What is
// broken behind these shows when it is opened.

import path from 'node:path'
import { stat } from 'node:fs/promises'
import { LlavaError } from '../errors.js'
import { readJsonFields } from './fields.js'
import { checkLanguageFile } from './gguf-model.js'
import { readWholeGguf } from './gguf-split.js'
import { readHfConfig } from './hf-config.js'
import { notFound } from './model-error.js'

/** @param location A GGUF file, the first part of one, or the directory of a checkpoint. */
export async function isOpenable(location: string): Promise<boolean> {
  try {
    if ((await stat(location)).isDirectory()) await checkConfig(location)
    else checkLanguageFile(await readWholeGguf(location))
    return true
  } catch (error) {
    if (error instanceof LlavaError || (error as NodeJS.ErrnoException).code !== undefined) return false
    throw error
  }
}

async function checkConfig(directory: string): Promise<void> {
  const config = await readJsonFields(path.join(directory, 'config.json'))
  if (config === undefined) throw notFound(directory, 'config.json is missing')
  readHfConfig(config)
}
