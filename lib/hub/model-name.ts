// Names of models that are pulled: a well-known one, or a repository of the hub as owner/name; a file of either may follow a colon.

export interface ModelName {
  /** As it was written. */
  readonly text: string
  /** `owner/name` */
  readonly repository: string
  /** Its path in the repository. */
  readonly file?: string
  /** Of a well-known model, for a card that states none. */
  readonly license?: string
}

/** Repositories with GGUF pairs of LLaVA 1.5, the ones that llama.cpp's own tests and documentation name. */
const wellKnown: ReadonlyMap<string, string> = new Map([
  ['llava-1.5-7b', 'second-state/Llava-v1.5-7B-GGUF'],
  ['llava-1.5-13b', 'mys/ggml_llava-v1.5-13b'],
])

export const wellKnownNames: readonly string[] = [...wellKnown.keys()]

/** What a name says; undefined where the text cannot be one, as `./model`, `a/b/c` and `models/a.gguf` cannot. */
export function parseModelName(text: string): ModelName | undefined {
  const [, name = '', file] = /^([^:]+)(?::(.+))?$/.exec(text) ?? []
  const repository = wellKnown.get(name)
  if (repository !== undefined) return { text, repository, license: 'LLaMA 2 Community License', ...(file !== undefined && { file }) }
  if (!/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(name) || /\.gguf$/i.test(name)) return undefined
  return { text, repository: name, ...(file !== undefined && { file }) }
}

/** The well-known name of a repository, or its own. */
export function shortestName(repository: string): string {
  const [known] = [...wellKnown].find(([, its]) => its === repository) ?? []
  return known ?? repository
}

/** The well-known names, those that differ least from a text first. */
export function nearestNames(text: string): readonly string[] {
  return wellKnownNames.toSorted((one, other) => distance(text.toLowerCase(), one) - distance(text.toLowerCase(), other))
}

/** How many characters must be put in, taken out or replaced to make one text of the other (Levenshtein 1965). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
