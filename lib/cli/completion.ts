// llava completion SHELL: a script that completes verbs, options and the values of those that have few; everything else is a file name.
// It is written from the command tree itself and runs without starting llava.

import { Argument, type Command, type Option } from 'commander'
import { addHelp } from './help.js'

const help = {
  examples: [
    'source <(llava completion bash)    # in ~/.bashrc',
    'llava completion zsh > "${fpath[1]}/_llava"    # then start a new shell',
    'llava completion fish > ~/.config/fish/completions/llava.fish',
  ],
}

const shells = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<string, (name: string, verbs: readonly Verb[]) => string>

export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('write a completion script for a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(shells)))
    .action((shell: keyof typeof shells) => {
      process.stdout.write(shells[shell](program.name(), verbsOf(program)))
    })
  addHelp(command, help)
}

interface Verb {
  readonly name: string
  readonly description: string
  readonly flags: readonly Flag[]
  /** Values of its argument, where they are few. */
  readonly values: readonly string[]
}

interface Flag {
  /** With their dashes. */
  readonly names: readonly string[]
  readonly description: string
  readonly takesValue: boolean
  readonly values: readonly string[]
}

function verbsOf(program: Command): readonly Verb[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .map((command) => ({
      name: command.name(),
      description: command.description(),
      flags: command.createHelp().visibleOptions(command).map(flagOf),
      values: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    }))
}

function flagOf({ short, long, description, required, optional, argChoices }: Option): Flag {
  const names = [long, short].filter((name) => name !== undefined)
  return { names, description, takesValue: required || optional, values: argChoices ?? [] }
}

function bashScript(name: string, verbs: readonly Verb[]): string {
  const withValues = verbs.flatMap((verb) => verb.flags.filter(({ takesValue }) => takesValue).map((flag) => ({ verb, flag })))
  const valueCases = withValues.flatMap(({ verb, flag }) =>
    flag.names.map((option) => `    '${verb.name} ${option}') COMPREPLY=($(compgen -W '${flag.values.join(' ')}' -- "$current")); return ;;\n`),
  )
  const verbCases = verbs.map(({ name: verb, flags, values }) => {
    const options = flags.flatMap(({ names }) => names).join(' ')
    const words = values.length > 0 ? `*) words='${values.join(' ')}' ;;` : '*) return ;;'
    return `    ${verb}) case "$current" in -*) words='${options}' ;; ${words} esac ;;\n`
  })
  return `_${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words
  COMPREPLY=()
  case "\${COMP_WORDS[1]} \${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases.join('')}  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words='${verbs.map((verb) => verb.name).join(' ')} --help --version'
  else case "\${COMP_WORDS[1]}" in
${verbCases.join('')}    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _${name} ${name}
`
}

function zshScript(name: string, verbs: readonly Verb[]): string {
  const plain = (text: string) => text.replace(/['\\:[\]]/g, (character) => (character === "'" ? "'\\''" : `\\${character}`))
  const specs = ({ flags, values }: Verb) => [
    ...flags.flatMap(({ names, description, takesValue, values: choices }) =>
      names.map((option) => `'*${option}[${plain(description)}]${takesValue ? `:value:${choices.length > 0 ? `(${choices.join(' ')})` : '_files'}` : ''}'`),
    ),
    values.length > 0 ? `'1:value:(${values.join(' ')})'` : "'*:file:_files'",
  ]
  const cases = verbs.map((verb) => `    ${verb.name}) _arguments \\\n      ${specs(verb).join(' \\\n      ')} ;;\n`)
  return `#compdef ${name}
_${name}() {
  local -a verbs=(
${verbs.map((verb) => `    '${verb.name}:${plain(verb.description)}'\n`).join('')}  )
  if (( CURRENT == 2 )); then _describe verb verbs; return; fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join('')}  esac
}
if [ "$funcstack[1]" = "_${name}" ]; then _${name} "$@"; else compdef _${name} ${name}; fi
`
}

function fishScript(name: string, verbs: readonly Verb[]): string {
  const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`
  const first = verbs.map((verb) => `complete -c ${name} -n __fish_use_subcommand -f -a ${verb.name} -d ${quoted(verb.description)}\n`)
  const rest = verbs.flatMap((verb) => {
    const line = `complete -c ${name} -n '__fish_seen_subcommand_from ${verb.name}'`
    const flags = verb.flags.map(({ names, description, takesValue, values }) => {
      const spelt = names.map((option) => (option.startsWith('--') ? `-l ${option.slice(2)}` : `-s ${option.slice(1)}`)).join(' ')
      const value = values.length > 0 ? ` -x -a ${quoted(values.join(' '))}` : takesValue ? ' -r' : ''
      return `${line} ${spelt}${value} -d ${quoted(description)}\n`
    })
    return verb.values.length > 0 ? [...flags, `${line} -f -a ${quoted(verb.values.join(' '))}\n`] : flags
  })
  return [...first, ...rest].join('')
}
