// llava completion SHELL: a script that completes verbs, options, the values of those that have few, and names of
// models; everything else is a file name.
// It is written from the command tree itself and runs without starting llava: what has been pulled is read from the
// cache's directories.

import { Argument, type Command, type Option } from 'commander'
import { templateNames, wellKnownNames, wellKnownRepositories } from '../index.js'
import { addHelp } from './help.js'

const help = {
  examples: [
    'source <(llava completion bash)    # in ~/.bashrc',
    'llava completion zsh > "${fpath[1]}/_llava"    # then start a new shell',
    'llava completion fish > ~/.config/fish/completions/llava.fish',
  ],
}

const shells = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  string,
  (name: string, verbs: readonly Verb[]) => string
>

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
  /** Whether its argument may be the name of a model that was pulled. */
  readonly pulled: boolean
}

interface Flag {
  /** With their dashes. */
  readonly names: readonly string[]
  readonly description: string
  readonly takesValue: boolean
  readonly values: readonly string[]
  /** Whether its value may be the name of a model that was pulled, or a path. */
  readonly pulled: boolean
}

/** Values of arguments and options, by verb and by name, that commander does not refuse others for. */
const otherValues: ReadonlyMap<string, readonly string[]> = new Map([
  ['pull', wellKnownNames],
  ['show', ['default']],
  ['--model', ['default']],
  ['--template', templateNames],
  ['--device', ['auto', 'cpu', 'cuda']],
])

const takesPulled: readonly string[] = ['show', 'rm', '--model']

function verbsOf(program: Command): readonly Verb[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .map((command) => ({
      name: command.name(),
      description: command.description(),
      flags: command.createHelp().visibleOptions(command).map(flagOf),
      values: otherValues.get(command.name()) ?? command.registeredArguments.flatMap((one) => one.argChoices ?? []),
      pulled: takesPulled.includes(command.name()),
    }))
}

function flagOf({ short, long, description, required, optional, argChoices }: Option): Flag {
  const names = [long, short].filter((name) => name !== undefined)
  const values = otherValues.get(long ?? '') ?? argChoices ?? []
  return { names, description, takesValue: required || optional, values, pulled: takesPulled.includes(long ?? '') }
}

/**
 * Writes the names of what has been pulled, in words that every shell knows: of all that `listModels` finds, and of
 * models whose headers alone tell that they are of another kind. A name with a character that a shell would expand is
 * none of the hub's.
 */
const pulledNames = `  cache="\${HF_HUB_CACHE:-\${HF_HOME:-\${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}"
  for ref in "$cache"/models--*--*/refs/main; do
    [ -f "$ref" ] || continue
    commit=
    read -r commit < "$ref"
    repository="\${ref%/refs/main}"
    for file in "$repository/snapshots/$commit"/*.gguf "$repository/snapshots/$commit/config.json"; do
      [ -e "$file" ] || continue
      case "$file" in */config.json) grep -qi 'llava\\|llama\\|mistral' "$file" || continue ;; esac
      name="\${repository##*/models--}"
      name="\${name%%--*}/\${name#*--}"
      case "$name" in
        *[!A-Za-z0-9._/-]*) break ;;
${[...wellKnownRepositories]
  .map(
    ([name, repository]) => `        ${repository}) name=${name} ;;
`,
  )
  .join('')}      esac
      echo "$name"
      break
    done
  done
`

/** The same as a function of bash or zsh. */
function pulledFunction(name: string, first: string): string {
  return `_${name}_pulled() {
  ${first}
  local cache ref commit repository file name
${pulledNames}}
`
}

function bashScript(name: string, verbs: readonly Verb[]): string {
  const withValues = verbs.flatMap((verb) =>
    verb.flags.filter(({ takesValue }) => takesValue).map((flag) => ({ verb, flag })),
  )
  const valueCases = withValues.flatMap(({ verb, flag }) =>
    flag.names.map((option) => `    '${verb.name} ${option}') ${bashValues(name, flag)}; return ;;\n`),
  )
  const verbCases = verbs.map(({ name: verb, flags, values, pulled }) => {
    const options = flags.flatMap(({ names }) => names).join(' ')
    const names = pulled ? [...values, `$(_${name}_pulled)`] : values
    const words = names.length > 0 ? `*) words="${names.join(' ')}" ;;` : '*) return ;;'
    return `    ${verb}) case "$current" in -*) words='${options}' ;; ${words} esac ;;\n`
  })
  return `${pulledFunction(name, "local IFS=$' \\t\\n'")}_${name}_models() {
  COMPREPLY=($(compgen -W "$1 $(_${name}_pulled)" -- "$current"))
  [ \${#COMPREPLY[@]} -gt 0 ] || return # files are bash's own to complete
  local IFS=$'\\n' files
  files=($(compgen -f -- "$current"))
  if [ \${#files[@]} -gt 0 ]; then
    COMPREPLY+=("\${files[@]}")
    compopt -o filenames 2> /dev/null # a directory gets its slash; old versions of bash have no compopt
  fi
}
_${name}() {
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

function bashValues(name: string, { values, pulled }: Flag): string {
  const words = `'${values.join(' ')}'`
  return pulled ? `_${name}_models ${words}` : `COMPREPLY=($(compgen -W ${words} -- "$current"))`
}

function zshScript(name: string, verbs: readonly Verb[]): string {
  const plain = (text: string) =>
    text.replace(/['\\:[\]]/g, (character) => (character === "'" ? "'\\''" : `\\${character}`))
  const listed = (values: readonly string[]) => `(${values.join(' ')})`
  const valuesOf = ({ values, pulled }: Flag) => {
    if (pulled) return `_${name}_models`
    return values.length > 0 ? listed(values) : '_files'
  }
  const argument = ({ values, pulled }: Verb) =>
    pulled ? `'*:name: _${name}_names ${values.join(' ')}'` : `'1:value:${listed(values)}'`
  const specs = (verb: Verb) => [
    ...verb.flags.flatMap((flag) => {
      const value = flag.takesValue ? `:value:${valuesOf(flag)}` : ''
      return flag.names.map((option) => `'*${option}[${plain(flag.description)}]${value}'`)
    }),
    verb.pulled || verb.values.length > 0 ? argument(verb) : "'*:file:_files'",
  ]
  const cases = verbs.map((verb) => `    ${verb.name}) _arguments \\\n      ${specs(verb).join(' \\\n      ')} ;;\n`)
  return `#compdef ${name}
${pulledFunction(name, 'emulate -L sh')}_${name}_names() {
  local -a names=("$@" \${(f)"$(_${name}_pulled)"})
  (( $#names )) && compadd -- $names
}
_${name}_models() {
  _${name}_names default
  _files
}
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
  const offered = (values: readonly string[]) => quoted([...values, `(__${name}_pulled)`].join(' '))
  const first = verbs.map(
    (verb) => `complete -c ${name} -n __fish_use_subcommand -f -a ${verb.name} -d ${quoted(verb.description)}\n`,
  )
  const rest = verbs.flatMap((verb) => {
    const line = `complete -c ${name} -n '__fish_seen_subcommand_from ${verb.name}'`
    const flags = verb.flags.map(({ names, description, takesValue, values, pulled }) => {
      const spelt = names
        .map((option) => (option.startsWith('--') ? `-l ${option.slice(2)}` : `-s ${option.slice(1)}`))
        .join(' ')
      const listed = values.length > 0 ? ` -x -a ${quoted(values.join(' '))}` : takesValue ? ' -r' : ''
      const value = pulled ? ` -r -a ${offered(values)}` : listed
      return `${line} ${spelt}${value} -d ${quoted(description)}\n`
    })
    if (verb.pulled) return [...flags, `${line} -f -a ${offered(verb.values)}\n`]
    return verb.values.length > 0 ? [...flags, `${line} -f -a ${quoted(verb.values.join(' '))}\n`] : flags
  })
  return [`function __${name}_pulled\n  sh -c ${quoted(pulledNames)}\nend\n`, ...first, ...rest].join('')
}
