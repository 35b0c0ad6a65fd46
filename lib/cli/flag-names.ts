// What the library calls an option that has a flag, or an argument, of another name.

const flagNames: Readonly<Record<string, string>> = {
  noRepeatNgramSize: 'ngramSize',
  count: 'answers',
  overwrite: 'force',
  target: 'out',
}

/** commander's name of the flag for an option of the library. */
export function flagNameOf(option: string): string {
  return flagNames[option] ?? option
}
