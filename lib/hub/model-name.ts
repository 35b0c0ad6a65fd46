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

/**
 * Well-known names, and the repositories that they stand for: GGUF pairs of LLaVA 1.5, the ones that llama.cpp's own
 * tests and documentation name.
 */
export const wellKnownRepositories: ReadonlyMap<string, string> = new Map([
  ['llava-1.5-7b', 'second-state/Llava-v1.5-7B-GGUF'],
  ['llava-1.5-13b', 'mys/ggml_llava-v1.5-13b'],
])

export const wellKnownNames: readonly string[] = [...wellKnownRepositories.keys()]

/** What a name says; undefined where the text cannot be one, as `./model`, `a/b/c` and `models/a.gguf` cannot. */
export function parseModelName(text: string): ModelName | undefined {
  const [, name = '', file] = /^([^:]+)(?::(.+))?$/.exec(text) ?? []
  const repository = wellKnownRepositories.get(name)
  if (repository !== undefined)
    return { text, repository, license: 'LLaMA 2 Community License', ...(file !== undefined && { file }) }
  if (!/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(name) || /\.gguf$/i.test(name)) return undefined
  return { text, repository: name, ...(file !== undefined && { file }) }
}

/** The well-known name of a repository, or its own. */
export function shortestName(repository: string): string {
  const [known] = [...wellKnownRepositories].find(([, its]) => its === repository) ?? []
  return known ?? repository
}

/** The well-known names, those of the size that a text speaks of first: `llava:13b` is nearest to `llava-1.5-13b`. */
export function nearestNames(text: string): readonly string[] {
  const isOther = (name: string): number => (text.includes(/(\d+)b$/.exec(name)?.[1] ?? name) ? 0 : 1)
  return wellKnownNames.toSorted((one, other) => isOther(one) - isOther(other))
}
