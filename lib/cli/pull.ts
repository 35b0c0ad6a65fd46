// llava pull NAME

import { Option, type Command } from 'commander'
import {
  pullModel,
  pullTypes,
  wellKnownNames,
  type PulledModel,
  type PullPlan,
  type PullProgress,
  type PullType,
} from '../index.js'
import { addHelp } from './help.js'
import { ProgressBar } from './progress-bar.js'
import { agreed } from './question.js'
import type { Session } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    `NAME is ${wellKnownNames.join(' or ')}, or a repository of the hub, as owner/name or owner/name:FILE. What is downloaded is a language model ` +
      'of four bits in GGUF and its vision half (mmproj), or, where no GGUF is there, the checkpoint (config.json, safetensors or PyTorch ' +
      'weights, tokenizer). Where both are there, owner/name:model.safetensors is the checkpoint. It goes into the cache that huggingface_hub ' +
      'shares, and --model NAME then opens it; `llava list`, `llava show NAME` and `llava rm NAME` are for what is there.',
    "An interrupted download is kept, and the same command goes on from there. A file gets its name once its checksum is the hub's.",
  ],
  lists: {
    Environment: [
      [
        'HF_TOKEN',
        'token of an account; without it, that of `hf auth login`: in the file HF_TOKEN_PATH, or `token` in HF_HOME',
      ],
      ['HF_HUB_DISABLE_IMPLICIT_TOKEN', '1: that file is not read'],
      ['HF_ENDPOINT', 'another hub, or a mirror'],
      ['HF_HUB_CACHE, HF_HOME', 'where downloads are kept'],
      ['HTTPS_PROXY, HTTP_PROXY, NO_PROXY', 'proxies'],
    ],
  },
  examples: [
    'llava pull llava-1.5-7b',
    'llava pull llava-1.5-7b --type q8_0',
    'llava pull mys/ggml_llava-v1.5-13b --file ggml-model-q5_k.gguf',
    'llava pull llava-hf/llava-1.5-7b-hf',
    'llava pull llava-1.5-13b --yes --json | jq -r .model',
    'llava ask cat.jpg "What is the cat doing?" --model llava-1.5-7b',
  ],
  json: [
    'With --json: {"repository","commit","license","model","mmproj","files":[{"path","nbytes","sha256"}],"elapsedMs"}; ' +
      'of a checkpoint, "model" is its directory, and there is no "mmproj".',
  ],
} as const

interface PullFlags {
  readonly type?: PullType
  readonly file?: string
  readonly yes?: boolean
  readonly json?: boolean
}

export function addPull(program: Command, session: Session): void {
  const command = program
    .command('pull')
    .description('download a model from the hub')
    .argument('<name>', `${wellKnownNames.join(', ')} or owner/name[:file]`)
    .addOption(new Option('--type <type>', 'type of the language model (default: four bits)').choices(pullTypes))
    .option('--file <path>', 'the file itself, by its path in the repository')
    .option('-y, --yes', 'download without asking')
    .option('--json', 'machine-readable output')
    .action((name: string, flags: PullFlags) => pull(name, flags, session))
  addHelp(command, help)
}

async function pull(name: string, { yes, json, ...wanted }: PullFlags, session: Session): Promise<void> {
  using display = new Display(session)
  let declined = false
  const confirm = async (plan: PullPlan): Promise<boolean> => {
    session.status('')
    if (json !== true) process.stderr.write(announcement(plan))
    const asking = yes !== true && json !== true && process.stdin.isTTY && process.stderr.isTTY
    const question = `Download ${size(plan.missingBytes)} to ${plan.cacheDirectory}?`
    declined = asking && !(await agreed(question, 'yes', session))
    return !declined
  }
  session.status('asking the hub …')
  try {
    const result = await pullModel(name, { ...wanted, confirm, signal: session.signal, onProgress: display.show })
    display[Symbol.dispose]()
    process.stdout.write(json === true ? `${JSON.stringify(result)}\n` : lines(result))
    if (json !== true) session.remark(`llava ask --model ${name} cat.jpg "What is in the picture?"`)
  } catch (error) {
    display[Symbol.dispose]()
    if (!declined) {
      if (session.signal.aborted && display.hasBegun)
        session.remark('what has been downloaded is kept; the same command goes on from there')
      throw error
    }
    session.failed(error, true)
    session.remark('nothing was downloaded')
  }
}

/** What the download is, and on which terms. */
function announcement({ repository, license, files }: PullPlan): string {
  const here = (nbytes: number, received: number) =>
    received === 0 ? '' : received === nbytes ? ', here' : `, ${size(received)} of it here`
  const rows = files.map(({ path, nbytes, received }) => `  ${path}  ${size(nbytes)}${here(nbytes, received)}\n`)
  const terms = license === undefined ? 'the card of the model states no license' : `license: ${license}`
  return `${repository}\n${rows.join('')}${terms}; whoever uses the model accepts its terms\n`
}

function lines({ files }: PulledModel): string {
  return files.map(({ path, nbytes }) => `${path}  ${size(nbytes)}\n`).join('')
}

/** What the terminal shows meanwhile. */
class Display implements Disposable {
  readonly #session: Session
  #bar: ProgressBar | undefined
  #begun = false

  constructor(session: Session) {
    this.#session = session
  }

  /** Whether bytes have come. */
  get hasBegun(): boolean {
    return this.#begun
  }

  readonly show = ({ file, stage, done, total }: PullProgress): void => {
    if (stage === 'wait') {
      this[Symbol.dispose]()
      this.#session.status(`another process is downloading ${file}; waiting …`)
    } else {
      if (this.#bar === undefined) this.#session.status('')
      this.#begun = true
      this.#bar ??= new ProgressBar('downloading')
      this.#bar.update(file, done, total)
    }
  };

  [Symbol.dispose](): void {
    this.#bar?.[Symbol.dispose]()
    this.#bar = undefined
    this.#session.status('')
  }
}
