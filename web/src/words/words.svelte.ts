// The page's words in the language that is chosen, or else the first of the browser's that there is.

import { de } from './de'
import { en } from './en'
import { zh } from './zh'

export const languages = { en: 'English', de: 'Deutsch', zh: '中文' } as const

export type LanguageName = keyof typeof languages

/** All that the page says. */
export type Dictionary = typeof en

const dictionaries: Readonly<Record<LanguageName, Dictionary>> = { en, de, zh }

export class Words {
  readonly #chosen: () => LanguageName | undefined

  constructor(chosen: () => LanguageName | undefined) {
    this.#chosen = chosen
  }

  get language(): LanguageName {
    return this.#chosen() ?? ofBrowser()
  }

  get now(): Dictionary {
    return dictionaries[this.language]
  }

  number(value: number, digits = 0): string {
    return value.toLocaleString(this.language, { maximumFractionDigits: digits })
  }

  date(ms: number): string {
    return new Date(ms).toLocaleDateString(this.language, { day: 'numeric', month: 'short' })
  }

  /** What to say of a server's error. */
  error({ code, message }: { readonly code: string; readonly message: string }): string {
    const { errors } = this.now
    return code in errors ? errors[code as keyof typeof errors] : message
  }
}

function ofBrowser(): LanguageName {
  const [known = 'en'] = navigator.languages
    .map((tag) => tag.split('-')[0] ?? '')
    .filter((name): name is LanguageName => name in languages)
  return known
}
