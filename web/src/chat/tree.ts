// A conversation's messages are a tree: who asks again or edits makes a sibling, and one of siblings is shown.

import type { Column, Message } from '../store/database'

/** Messages that follow `parent`, in the order in which they came to be. */
export function childrenOf(messages: Iterable<Message>, column: number, parent: string): readonly Message[] {
  return [...messages]
    .filter((message) => message.column === column && message.parent === parent)
    .sort((a, b) => a.created - b.created)
}

/** The messages of a column that are shown, from the first to the last. */
export function pathOf(messages: Iterable<Message>, column: number, shown: Column['shown']): readonly Message[] {
  const all = [...messages]
  const path: Message[] = []
  for (let parent = ''; ;) {
    const children = childrenOf(all, column, parent)
    const next = children.find(({ id }) => id === shown[parent]) ?? children.at(-1)
    if (next === undefined) return path
    path.push(next)
    parent = next.id
  }
}
