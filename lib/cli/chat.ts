// llava chat [IMAGE]: turns read from stdin, a line each; with a terminal, a prompt and line editing.

import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { Answer, ChatStream, LLaVA, Message } from '../index.js'
import { summary } from './ask.js'
import { addAnswerFlags, answerOptions, openModel, type AnswerFlags } from './flags.js'
import { colours, type Session } from './session.js'

const help = `
Each line is a question; the conversation so far goes with it. /exit or Ctrl-D ends the chat, Ctrl-C stops the answer being written.

Examples:
  llava chat cat.jpg
  llava chat --model llava-v1.5-7b.Q4_0.gguf --system "Answer in one sentence."
  printf 'What is this?\\nWhat colour is it?\\n' | llava chat cat.jpg --json

With --json: a line for each answer, as of llava ask.`

export function addChat(program: Command, session: Session): void {
  addAnswerFlags(program.command('chat'))
    .description('talk about a picture')
    .argument('[image]', 'the picture')
    .addHelpText('after', help)
    .action((image: string | undefined, flags: AnswerFlags) => chat(image, flags, session))
}

async function chat(image: string | undefined, flags: AnswerFlags, session: Session): Promise<void> {
  const model = await openModel(flags, session, { autoOrient: flags.autoOrient })
  try {
    session.status(image === undefined ? '' : 'looking …')
    const picture = image === undefined ? undefined : await model.encodeImage(image, { signal: session.signal })
    session.status('')
    try {
      const opening = picture === undefined ? [] : [{ type: 'image' as const, image: picture }]
      await converse(model, opening, flags, session)
    } finally {
      picture?.dispose()
    }
  } finally {
    model.dispose()
  }
}

type Content = Exclude<Message['content'], string>

/** Turn after turn until the input ends. `opening` stands before the first question. */
async function converse(model: LLaVA, opening: Content, flags: AnswerFlags, session: Session): Promise<void> {
  const terminal = process.stdin.isTTY && process.stdout.isTTY && flags.json !== true
  const lines = createInterface({ input: process.stdin, output: process.stdout, terminal, prompt: colours(process.stdout).cyan('> ') })
  let stream: ChatStream | undefined
  session.onInterrupt(() => {
    if (stream !== undefined) stream.cancel()
    else if (terminal) {
      session.remark('\n(/exit or Ctrl-D ends the chat)')
      lines.prompt()
    } else return false
    return true
  })
  lines.on('SIGINT', () => {
    session.interrupt() // a terminal in raw mode sends no signal
  })
  session.signal.addEventListener(
    'abort',
    () => {
      lines.close()
    },
    { once: true },
  )

  let messages: readonly Message[] = []
  if (terminal) lines.prompt()
  for await (const line of lines) {
    const question = line.trim()
    if (question === '/exit') break
    if (question !== '') {
      const content: Content = [...(messages.length === 0 ? opening : []), { type: 'text', text: question }]
      const turn: Message = { role: 'user', content }
      try {
        stream = model.chat([...messages, turn], { ...answerOptions(flags), signal: session.signal })
        const answer = await say(stream, flags)
        messages = [...messages, turn, { role: 'assistant', content: answer.text }]
        stream = undefined
        process.stdout.write(flags.json === true ? `${JSON.stringify(answer)}\n` : '\n')
        if (terminal) session.remark(answer.finishReason === 'cancelled' ? 'stopped' : summary(answer))
      } catch (error) {
        stream = undefined
        if (!terminal || session.signal.aborted) throw error
        session.complain(error, false) // the conversation goes on without this turn
      }
    }
    if (terminal) lines.prompt()
  }
  lines.close()
}

/** Writes an answer as it comes; with `--json`, only waits for it. */
async function say(stream: ChatStream, flags: AnswerFlags): Promise<Answer> {
  if (flags.json !== true) for await (const text of stream) process.stdout.write(text)
  return stream.answer
}
