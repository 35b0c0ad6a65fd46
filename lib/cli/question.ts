// A question on the terminal that is answered with yes or no.

import { createInterface } from 'node:readline'
import type { Session } from './session.js'

/** @param otherwise What an empty line says. The end of the input is a no. */
export async function agreed(question: string, otherwise: 'yes' | 'no', session: Session): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const close = () => {
    terminal.close()
  }
  session.signal.addEventListener('abort', close, { once: true })
  terminal.on('SIGINT', () => {
    session.interrupt() // a terminal in raw mode sends no signal
  })
  try {
    const answer = await new Promise<string>((resolve) => {
      terminal.question(`${question} ${otherwise === 'yes' ? '[Y/n]' : '[y/N]'} `, resolve)
      terminal.on('close', () => {
        resolve('no')
      })
    })
    return /^\s*(?:y|yes)\s*$/i.test(answer.trim() === '' ? otherwise : answer)
  } finally {
    close()
  }
}
