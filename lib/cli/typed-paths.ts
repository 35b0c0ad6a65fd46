// Paths as people type and drop them into a terminal: quotes, escaped blanks, ~ for the home directory; and their completion by the tab key.

import { existsSync, readdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** The paths in what stands behind a command; all of it is one where a file is called so. */
export function pathsIn(text: string): string[] {
  const whole = withHome(text)
  if (text === '' || existsSync(whole)) return text === '' ? [] : [whole]
  return wordsOf(text).map(withHome)
}

/** Words as a shell cuts them. On Windows a backslash stands between folders and escapes nothing. */
function wordsOf(text: string): string[] {
  const word =
    process.platform === 'win32' ? /(?:"[^"]*"|'[^']*'|[^\s"'])+/g : /(?:"[^"]*"|'[^']*'|\\.|[^\s"'\\])+|["'\\]/g
  return (text.match(word) ?? []).map((one) =>
    one.replace(/"([^"]*)"|'([^']*)'|\\(.)/g, (all, double?: string, single?: string, escaped?: string) => {
      if (escaped !== undefined && process.platform === 'win32') return all
      return double ?? single ?? escaped ?? all
    }),
  )
}

function withHome(place: string): string {
  return /^~(?=$|[/\\])/.test(place) ? os.homedir() + place.slice(1) : place
}

/** What could stand for the last word of `text`, and that word: files and folders whose names begin with it, blanks escaped. */
export function completePath(text: string): [string[], string] {
  const typed = /(?:\\.|[^\s\\])*$/.exec(text)?.[0] ?? ''
  const start = typed.replaceAll(/\\(.)/g, '$1')
  const folder = start.slice(0, start.lastIndexOf('/') + 1)
  const escaped = (place: string) => place.replaceAll(/[\s\\"'()&;]/g, String.raw`\$&`)
  return [
    filesIn(folder)
      .filter((place) => place.startsWith(start))
      .map(escaped),
    typed,
  ]
}

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder === '' ? '.' : withHome(folder), { withFileTypes: true })
    return entries.map((entry) => `${folder}${entry.name}${entry.isDirectory() ? path.posix.sep : ''}`)
  } catch {
    return []
  }
}
