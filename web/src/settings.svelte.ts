// What a person has set, kept in this browser. Those of answers begin as in LLaVA's demo.

import type { LanguageName } from './words/words.svelte'

const storage = 'llava.settings'

export type Theme = 'system' | 'light' | 'dark'

export const answerDefaults = { temperature: 0.2, topP: 0.7, maxTokens: 512 } as const

interface Kept {
  temperature: number
  topP: number
  maxTokens: number
  theme: Theme
  /** Undefined: the browser's. */
  language: LanguageName | undefined
  key: string
}

export class Settings implements Kept {
  temperature = $state<number>(answerDefaults.temperature)
  topP = $state<number>(answerDefaults.topP)
  maxTokens = $state<number>(answerDefaults.maxTokens)
  theme = $state<Theme>('system')
  language = $state<LanguageName>()
  key = $state('')

  constructor() {
    try {
      const kept = JSON.parse(localStorage.getItem(storage) ?? '{}') as Partial<Kept>
      const number = (value: unknown, least: number, most: number, otherwise: number): number =>
        typeof value === 'number' && value >= least && value <= most ? value : otherwise
      this.temperature = number(kept.temperature, 0, 2, this.temperature)
      this.topP = number(kept.topP, 0.01, 1, this.topP)
      this.maxTokens = number(kept.maxTokens, 1, 1e6, this.maxTokens)
      if (kept.theme === 'light' || kept.theme === 'dark') this.theme = kept.theme
      if (kept.language === 'en' || kept.language === 'de' || kept.language === 'zh') this.language = kept.language
      if (typeof kept.key === 'string') this.key = kept.key
    } catch {
      // damaged, or storage is forbidden: the defaults hold
    }
    $effect.root(() => {
      $effect(() => {
        const { temperature, topP, maxTokens, theme, language, key } = this
        try {
          localStorage.setItem(storage, JSON.stringify({ temperature, topP, maxTokens, theme, language, key }))
        } catch {
          // forbidden or full: they hold until the page is left
        }
        if (theme === 'system') delete document.documentElement.dataset['theme']
        else document.documentElement.dataset['theme'] = theme
      })
    })
  }

  /** Those of answers as they were at first. */
  reset(): void {
    Object.assign(this, answerDefaults)
  }
}
