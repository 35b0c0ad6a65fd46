// What stands under the options of a verb: words about it, lists, examples, the form of its JSON; wrapped to the terminal's width.

import type { Command } from 'commander'

export interface HelpText {
  /** Paragraphs. */
  readonly about?: readonly string[]
  /** Lists, each under its title: a term and what it means. */
  readonly lists?: Readonly<Record<string, readonly (readonly [term: string, meaning: string])[]>>
  /** Commands. */
  readonly examples?: readonly string[]
  /** Paragraphs about `--json`. */
  readonly json?: readonly string[]
}

const indent = '  '

/** Adds the text to `--help`, and returns the command. */
export function addHelp(command: Command, { about = [], lists = {}, examples = [], json = [] }: HelpText): Command {
  return command.addHelpText('after', ({ command: shown, error }) => {
    const output = shown.configureOutput()
    const width = (error ? output.getErrHelpWidth?.() : output.getOutHelpWidth?.()) ?? 80
    const listed = Object.entries(lists).map(([title, entries]) =>
      [wrapped(`${title}:`, width), ...listLines(shown, entries, width)].join('\n'),
    )
    const shownExamples =
      examples.length === 0
        ? []
        : [['Examples:', ...examples.map((example) => wrappedCommand(example, width))].join('\n')]
    const paragraphs = (texts: readonly string[]) => texts.map((text) => wrapped(text, width))
    return `\n${[...paragraphs(about), ...listed, ...shownExamples, ...paragraphs(json)].join('\n\n')}`
  })
}

function listLines(command: Command, entries: readonly (readonly [string, string])[], width: number): string[] {
  const helper = command.createHelp()
  helper.prepareContext({ helpWidth: width })
  const termWidth = Math.max(...entries.map(([term]) => term.length))
  return entries.map(([term, meaning]) => helper.formatItem(term, termWidth, meaning, helper))
}

/** Breaks a text at white space, and behind a comma inside a word, as JSON has them. */
export function wrapped(text: string, width: number): string {
  return lines(text.split(/(?<=\s|,(?=\S))/), width).join('\n')
}

/** Breaks a command between its words, in a way that a shell reads as one line. */
export function wrappedCommand(command: string, width: number): string {
  const words = command.match(/(?:[^\s"']|"[^"]*"|'[^']*')+\s*/g) ?? []
  return lines(words, width - 3 * indent.length - 2)
    .map((line, n) => (n === 0 ? indent : indent.repeat(3)) + line)
    .join(' \\\n')
}

function lines(words: readonly string[], width: number): string[] {
  const all: string[] = []
  let line = ''
  for (const word of words) {
    if (line !== '' && line.length + word.trimEnd().length > width) {
      all.push(line.trimEnd())
      line = ''
    }
    line += word
  }
  return [...all, line.trimEnd()]
}
