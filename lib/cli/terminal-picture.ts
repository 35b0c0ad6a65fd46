// Pictures in the terminal, by one of three protocols, as PNG or sixels at most `longest` wide and high:
//   kitty   ESC _G a=T,f=100,m=… ; base64 ESC \   in chunks of 4096 characters (kitty, Ghostty, Konsole)
//   iterm   ESC ]1337;File=inline=1 : base64 BEL  (iTerm2, WezTerm, mintty, VS Code)
//   sixel   ESC P q … ESC \                       (xterm -ti 340, foot, mlterm, Windows Terminal)
// The protocol is told by the environment; else the terminal is asked for its attributes (DA1), of which 4 is sixel graphics.

import { decodeImage, type ImageInput, type RgbImage } from '../index.js'
import type { Session } from './session.js'

export const pictureProtocols = ['kitty', 'iterm', 'sixel'] as const

export type PictureProtocol = (typeof pictureProtocols)[number]

/** Width and height of what is shown, in pixels: about 40 columns and 18 rows. */
const longest = 360

/** Milliseconds a terminal has to say what it can. */
const replyMs = 200

/** Writes a picture to stdout. With `auto`, only where stdout is a terminal that shows it. */
export async function showPicture(image: ImageInput, how: PictureProtocol | 'auto', session: Session): Promise<void> {
  const protocol = how === 'auto' ? await findProtocol() : how
  if (protocol === undefined) {
    session.remark('this terminal shows no pictures that llava knows how to send (kitty, iterm, sixel)')
    return
  }
  process.stdout.write(`${await encode(await decodeImage(image, { signal: session.signal }), protocol)}\n`)
}

/** The escape sequence that shows a picture. */
export async function encode({ width, height, data }: RgbImage, protocol: PictureProtocol): Promise<string> {
  const { default: sharp } = await import('sharp')
  const small = sharp(data, { raw: { width, height, channels: 3 } }).resize(longest, longest, {
    fit: 'inside',
    withoutEnlargement: true,
  })
  if (protocol === 'sixel') {
    const { image2sixel } = await import('sixel')
    const { data: rgba, info } = await small.ensureAlpha().raw().toBuffer({ resolveWithObject: true })
    return image2sixel(rgba, info.width, info.height)
  }
  const base64 = (await small.png().toBuffer()).toString('base64')
  return protocol === 'iterm' ? `\u001B]1337;File=inline=1:${base64}\u0007` : kittyChunks(base64).join('')
}

function kittyChunks(base64: string): string[] {
  const chunks = base64.match(/.{1,4096}/g) ?? []
  return chunks.map(
    (chunk, n) => `\u001B_G${n === 0 ? 'a=T,f=100,q=2,' : ''}m=${n < chunks.length - 1 ? 1 : 0};${chunk}\u001B\\`,
  )
}

async function findProtocol(): Promise<PictureProtocol | undefined> {
  if (!process.stdout.isTTY) return undefined
  return protocolOf(process.env) ?? ((await terminalAttributes()).includes('4') ? 'sixel' : undefined)
}

/** What the environment tells of the terminal. */
export function protocolOf({
  TERM = '',
  TERM_PROGRAM = '',
  LC_TERMINAL = '',
  ...others
}: NodeJS.ProcessEnv): PictureProtocol | undefined {
  if (['iTerm.app', 'WezTerm', 'mintty', 'vscode'].includes(TERM_PROGRAM) || LC_TERMINAL === 'iTerm2') return 'iterm'
  if (
    /kitty|ghostty/.test(TERM) ||
    TERM_PROGRAM === 'ghostty' ||
    others['KITTY_WINDOW_ID'] !== undefined ||
    others['KONSOLE_VERSION'] !== undefined
  )
    return 'kitty'
  return /sixel|^foot|^mlterm/.test(TERM) ? 'sixel' : undefined
}

/** The numbers of the terminal's answer to DA1, ESC [ ? 62 ; 4 … c; none where it does not answer. */
async function terminalAttributes(): Promise<readonly string[]> {
  const { stdin, stdout } = process
  if (!stdin.isTTY) return []
  return new Promise((resolve) => {
    let heard = ''
    const end = () => {
      clearTimeout(timer)
      stdin.off('data', listen).pause()
      stdin.setRawMode(false)
      resolve(/\[\?([\d;]*)c/.exec(heard)?.[1]?.split(';') ?? [])
    }
    const listen = (data: Buffer) => {
      heard += data.toString('latin1')
      if (heard.includes('c')) end()
    }
    const timer = setTimeout(end, replyMs)
    stdin.setRawMode(true)
    stdin.resume().on('data', listen)
    stdout.write('\u001B[c')
  })
}
