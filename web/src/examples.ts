// Pictures to begin with, and a question about each. The questions are English in every language: so are the models.

import breakfast from '../examples/breakfast.webp'
import garden from '../examples/garden.webp'
import street from '../examples/street.webp'
import things from '../../models/demo.png'

export const examples = [
  { url: things, name: 'things', question: 'What is in this picture?' },
  { url: garden, name: 'garden', question: 'Describe the picture in detail.' },
  { url: breakfast, name: 'breakfast', question: 'Where is the banana?' },
  { url: street, name: 'street', question: 'What color is the balloon?' },
] as const

export async function exampleFile({ url, name }: (typeof examples)[number]): Promise<File> {
  const blob = await (await fetch(url)).blob()
  return new File([blob], name, { type: blob.type })
}

/** What can be asked about any picture. */
export const questions = [
  'What is in this picture?',
  'Describe the picture in detail.',
  'How many things are there?',
] as const
