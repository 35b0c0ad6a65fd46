// Formats that people bring and that are not read: told by how their files begin, with what to do instead.

interface UnreadFormat {
  readonly name: string
  readonly advice: string
  readonly begins: (head: string) => boolean
}

const toJpeg = (tools: string) => `convert it to JPEG or PNG first (${tools})`

/** Brands of ISO media files, at byte 8 behind `ftyp`. */
const branded =
  (...brands: readonly string[]) =>
  (head: string) =>
    head.startsWith('ftyp', 4) && brands.includes(head.slice(8, 12))

const formats: readonly UnreadFormat[] = [
  {
    name: 'HEIC',
    advice: toJpeg('sips -s format jpeg on macOS, heif-convert of libheif elsewhere'),
    begins: branded('heic', 'heix', 'hevc', 'hevx', 'heim', 'heis', 'mif1', 'msf1'),
  },
  { name: 'a BMP', advice: toJpeg('magick a.bmp a.png of ImageMagick'), begins: (head) => head.startsWith('BM') },
  {
    name: 'JPEG XL',
    advice: toJpeg('djxl of libjxl'),
    begins: (head) => head.startsWith('\xFF\x0A') || head.startsWith('JXL ', 4),
  },
  { name: 'a Photoshop file', advice: 'export it as PNG or JPEG', begins: (head) => head.startsWith('8BPS') },
  {
    name: 'a PDF',
    advice: 'make pictures of its pages first (pdftoppm -png of poppler)',
    begins: (head) => head.startsWith('%PDF'),
  },
  {
    name: 'a video',
    advice: 'take pictures out of it first (ffmpeg -i film.mp4 -vf fps=1 %d.png)',
    begins: (head) =>
      branded('isom', 'iso2', 'mp41', 'mp42', 'avc1', 'qt  ', 'M4V ')(head) || head.startsWith('\x1A\x45\xDF\xA3'),
  },
]

/** Why a file is not read, and what to do; undefined where its beginning does not say. */
export function unreadFormat(bytes: Buffer): string | undefined {
  const head = bytes.toString('latin1', 0, 16)
  const format = formats.find(({ begins }) => begins(head))
  return format === undefined ? undefined : `it is ${format.name}, which is not read; ${format.advice}`
}
