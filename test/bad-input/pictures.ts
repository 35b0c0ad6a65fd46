// Pictures that cannot be had, cannot be decoded, or are none; each is handed to `encodeImage`.

import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import type { EncodeOptions, ImageInput } from '../../lib/index.js'
import type { BadInput } from './row.js'

const fixtures = fileURLToPath(new URL('../../../test/fixtures/pictures/', import.meta.url))
const bytesOf = (name: string): Uint8Array<ArrayBuffer> => Uint8Array.from(readFileSync(path.join(fixtures, name)))
const png = bytesOf('rgb.png')

/** A PNG whose header claims another size. */
function claiming(width: number, height: number): Uint8Array {
  const claim = Uint8Array.from(png)
  const header = new DataView(claim.buffer)
  header.setUint32(16, width)
  header.setUint32(20, height)
  header.setUint32(29, crc32(claim.subarray(12, 29)))
  return claim
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(8)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

function locked(): ReadableStream<Uint8Array> {
  const stream = new ReadableStream<Uint8Array>()
  stream.getReader()
  return stream
}

function readResponse(): Response {
  const response = new Response('x')
  void response.text()
  return response
}

const failing = (): AsyncGenerator<Uint8Array> =>
  (async function* () {
    yield await Promise.reject<Buffer>(new Error('broken pipe'))
  })()

/** A function makes the input when the row runs. */
type Input = (() => unknown) | { readonly picture: unknown }
const the = (picture: unknown): Input => ({ picture })

const unreadable: readonly (readonly [what: string, input: Input, message: RegExp, cause?: RegExp])[] = [
  [
    'a path where nothing is',
    the('no/such/picture.png'),
    /cannot read no\/such\/picture\.png: there is no such file/,
    /ENOENT/,
  ],
  ['a folder', the(fixtures), /cannot read .*pictures\/: it is a directory; name the pictures in it/, /EISDIR/],
  [
    'the Response of a server that refuses',
    () => new Response('gone', { status: 404 }),
    /the picture in the Response: the server answered with status 404/,
  ],
  ['a Response without a body', () => new Response(null), /the picture in the Response: it holds no bytes/],
  [
    'text in place of bytes',
    the(Buffer.from('this is no picture')),
    /cannot read the picture in memory/,
    /unsupported image format/,
  ],
  [
    'a BMP',
    the(Buffer.concat([Buffer.from('BM'), Buffer.alloc(99)])),
    /it is a BMP, which is not read; convert it to JPEG or PNG first \(magick/,
    /unsupported image format/,
  ],
  [
    'a HEIC',
    the(Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic'.padEnd(99, '\0'))),
    /it is HEIC, which is not read; convert it to JPEG or PNG first \(sips/,
    /./,
  ],
  [
    'a PDF',
    the(Buffer.from('%PDF-1.7\n')),
    /it is a PDF, which is not read; make pictures of its pages first/,
    /unsupported image format/,
  ],
  [
    'a film',
    the(Buffer.from('\0\0\0\x18ftypisom'.padEnd(99, '\0'))),
    /it is a video, which is not read; take pictures out of it first/,
    /./,
  ],
  ['no bytes', the(new Uint8Array(0)), /the picture in memory: it holds no bytes/],
  ['an empty Blob', the(new Blob([])), /the picture in the Blob: it holds no bytes/],
  ['a data: URL of no base64', the('data:image/png;base64,%%%'), /the picture in the data: URL/, /./],
  [
    'a data: URL of no picture',
    the('data:text/plain,hello'),
    /the picture in the data: URL/,
    /unsupported image format/,
  ],
  ['a stream of nothing', the(Readable.from([])), /the picture in the stream: it holds no bytes/],
  ['a stream that fails', failing, /broken pipe/, /broken pipe/],
  [
    'a stream that was destroyed',
    () => new Readable({ read: () => undefined }).destroy(),
    /the picture in the stream/,
    /./,
  ],
  ['an SVG that is not XML', the(Buffer.from('<svg width="3" height="3"')), /cannot read the picture in memory/, /./],
  [
    'a PNG with a broken checksum',
    () => Uint8Array.from(png, (byte, at) => (at === 30 ? byte ^ 255 : byte)),
    /cannot read the picture in memory/,
    /./,
  ],
  ['a PNG of no width', () => claiming(0, 4), /cannot read the picture in memory/, /./],
  ...(['baseline-420.jpg', 'progressive.jpg', 'rgb.png', 'lossless.webp', 'palette.gif', 'plain.tif'] as const).flatMap(
    (name) =>
      [0.02, 0.3, 0.7].map((share) => {
        const bytes = bytesOf(name)
        return [
          `${name} cut to ${share} of itself`,
          the(bytes.subarray(0, Math.ceil(bytes.length * share))),
          /cannot read the picture in memory/,
          /./,
        ] as const
      }),
  ),
]

const wrong: readonly (readonly [what: string, input: Input, message: RegExp])[] = [
  ['a Uint8Array on a detached buffer', detached, /bytes that are still there, got "a detached buffer"/],
  ['a detached ArrayBuffer', () => detached().buffer, /bytes that are still there/],
  ['raw pixels on a detached buffer', () => ({ width: 1, height: 1, data: detached() }), /bytes that are still there/],
  [
    'a JPEG in base64',
    the(Buffer.from(bytesOf('baseline-420.jpg')).toString('base64')),
    /got \d+ characters that look like base64 \("\/9j\/[^"]{12}…"\): put data:image\/jpeg;base64, in front of it, or give Buffer\.from\(text, 'base64'\)$/,
  ],
  [
    '400,000 characters of base64',
    () => Buffer.alloc(300_000, 7).toString('base64'),
    /^.{0,300}got 400000 characters that look like base64.{0,300}$/,
  ],
  [
    'a wrapped PNG in base64',
    () => Buffer.from(png).toString('base64').replaceAll(/.{76}/g, '$&\r\n'),
    /put data:image\/png;base64, in front of it/,
  ],
  [
    'the text of a URL of another kind',
    the('ftp://example.org/a.png'),
    /a path, or a file:, data:, http: or https: URL, got "ftp:/,
  ],
  ['a Response that has been read', readResponse, /a Response whose body nobody has read/],
  ['an empty path', the(''), /`image` to be a path, got ""/],
  ['a path with a zero byte', the('a\0b.png'), /`image` to be a path/],
  ['an http: address that cannot be read', the('http://'), /an http: or https: URL that can be read, got "http:\/\/"/],
  [
    'a URL of another kind',
    the(new URL('ftp://example.org/a.png')),
    /a path, or a file:, data:, http: or https: URL, got "ftp:/,
  ],
  ['a file: URL of another machine', the('file://elsewhere/a.png'), /a file: URL of this machine/],
  ['null', the(null), /`image` to be a path or URL, .* got null/],
  ['undefined', the(undefined), /`image` to be a path or URL, .* got undefined/],
  ['a number', the(7), /`image` to be a path or URL, .* got 7/],
  ['a plain object', the({}), /`image` to be a path or URL, .* got an instance of Object/],
  ['an array of numbers', the([1, 2, 3]), /`image` to be a path or URL, .* got a list of 3/],
  ['floats', the(new Float32Array(12)), /`image` to be a path or URL, .* got an instance of Float32Array/],
  ['raw pixels that are too few', the({ width: 2, height: 2, data: new Uint8Array(11) }), /3 or 4 times 2 × 2, got 11/],
  [
    'raw pixels of no width',
    the({ width: 0, height: 2, data: new Uint8Array(0) }),
    /`image\.width` to be a positive integer, got 0/,
  ],
  [
    'raw pixels of no height',
    the({ width: 2, height: -1, data: new Uint8Array(0) }),
    /`image\.height` to be a positive integer, got -1/,
  ],
  [
    'raw pixels of a broken width',
    the({ width: 1.5, height: 2, data: new Uint8Array(9) }),
    /`image\.width` to be a positive integer, got 1\.5/,
  ],
  [
    'raw pixels as a plain array',
    the({ width: 1, height: 1, data: [1, 2, 3] }),
    /`image\.data` to be a Uint8Array or Uint8ClampedArray/,
  ],
  ['a stream of text', the(Readable.from(['text'])), /`image` to be a stream of bytes, got "text"/],
  ['a web stream with another reader', locked, /a stream that nobody else reads/],
]

const tooLarge: readonly (readonly [what: string, input: Input, options: EncodeOptions, message: RegExp])[] = [
  ['more pixels than maxPixels', the(png), { maxPixels: 10 }, /more than the 10 allowed; raise `maxPixels`/],
  ['a small file that claims 400 million pixels', () => claiming(20_000, 20_000), {}, /20000 × 20000 pixels/],
  [
    'raw pixels beyond maxPixels',
    the({ width: 4, height: 4, data: new Uint8Array(48) }),
    { maxPixels: 15 },
    /the raw picture has 4 × 4 pixels/,
  ],
  ['a stream longer than maxBytes', () => Readable.from([Buffer.alloc(100)]), { maxBytes: 99 }, /maxBytes/],
]

const encode =
  (input: Input, options: EncodeOptions = {}): BadInput['call'] =>
  ({ model }) =>
    model.encodeImage((typeof input === 'function' ? input() : input.picture) as ImageInput, options)

const others: readonly BadInput[] = [
  {
    title: 'a picture file without bytes',
    code: 'IMAGE_UNREADABLE',
    message: /empty\.png: it holds no bytes/,
    async call({ model, folder }) {
      const file = path.join(folder, 'empty.png')
      await writeFile(file, '')
      return model.encodeImage(file)
    },
  },
  {
    title: 'a device without an end as a picture',
    code: 'IMAGE_TOO_LARGE',
    message: /\/dev\/zero.*maxBytes/,
    call: ({ model }) => model.encodeImage('/dev/zero', { maxBytes: 1e6 }),
  },
  {
    title: 'a stream that never gives anything',
    code: 'IMAGE_UNREADABLE',
    message: /20 ms that `timeoutMs` allows/,
    call: ({ model }) => model.encodeImage(new Readable({ read: () => undefined }), { timeoutMs: 20 }),
  },
  {
    title: 'a picture at a private address',
    code: 'IMAGE_UNREADABLE',
    message: /allowPrivateNetwork/,
    call: ({ model }) => model.encodeImage('http://127.0.0.1:1/a.png'),
  },
]

export const pictures: readonly BadInput[] = [
  ...unreadable.map(([what, input, message, cause]): BadInput => {
    return {
      title: `${what} as a picture`,
      code: 'IMAGE_UNREADABLE',
      message,
      ...(cause && { cause }),
      call: encode(input),
    }
  }),
  ...wrong.map(([what, input, message]): BadInput => ({
    title: `${what} as a picture`,
    code: 'INVALID_ARGUMENT',
    message,
    call: encode(input),
  })),
  ...tooLarge.map(([what, input, options, message]): BadInput => ({
    title: `a picture with ${what}`,
    code: 'IMAGE_TOO_LARGE',
    message,
    call: encode(input, options),
  })),
  ...others,
]
