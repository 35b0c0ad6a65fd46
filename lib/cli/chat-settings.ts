// /set in a chat: the flags that say how it answers, by their names without the dashes.

import { Command, CommanderError, type Option } from 'commander'
import { LlavaError, type AnswerOptions } from '../index.js'
import { flagNameOf } from './flag-names.js'
import { addAnswerFlags, answerOptions, type AnswerFlags } from './flags.js'

/** Of no use here: log-probabilities are shown as JSON only. */
const without = ['logprobs']

function flags(): readonly Option[] {
  return addAnswerFlags(new Command()).options.filter((option) => !without.includes(option.attributeName()))
}

function nameOf(option: Option): string {
  return (option.long ?? '').replace(/^--/, '')
}

export function settingNames(): readonly string[] {
  return flags().map(nameOf)
}

/** The options with the flag `name` set to `value`, or where that is empty as if it had not been given. */
export function withSetting(options: AnswerOptions, name: string, value: string): AnswerOptions {
  const flag = flags().find((option) => nameOf(option) === name.replace(/^--/, '').toLowerCase())
  if (flag === undefined)
    throw new LlavaError('INVALID_ARGUMENT', `there is no setting ${name}; there are ${settingNames().join(', ')}`)
  const command = addAnswerFlags(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
  const given = value === '' ? [] : [`${flag.long}=${value}`]
  try {
    command.parse(given, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError)
      throw new LlavaError('INVALID_ARGUMENT', error.message.replace(/^error: /, ''), { cause: error })
    throw error
  }
  const others = Object.entries(options).filter(([option]) => flagNameOf(option) !== flag.attributeName())
  return { ...Object.fromEntries(others), ...answerOptions(command.opts<AnswerFlags>()) }
}

/** What is set, a line each. */
export function settingLines(options: AnswerOptions): string {
  const set = flags().flatMap((flag) => {
    const [, value]: readonly unknown[] =
      Object.entries(options).find(([option]) => flagNameOf(option) === flag.attributeName()) ?? []
    return value === undefined
      ? []
      : [`  ${nameOf(flag)} ${typeof value === 'string' ? value : JSON.stringify(value)}\n`]
  })
  return set.length > 0 ? set.join('') : '  nothing is set; the model answers by its defaults\n'
}
