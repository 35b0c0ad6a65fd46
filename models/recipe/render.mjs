// Renders the drawings of every thing in things.txt, by every hand in hands.json, to [96,96] RGBA, trimmed to their content.
//
// usage: node render.mjs OUT     (writes OUT/drawings.bin, OUT/drawings.json and OUT/drawings.png, a contact sheet)
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'

const side = 96
const here = dirname(fileURLToPath(import.meta.url))
const out = process.argv[2]
mkdirSync(out, { recursive: true })
const require = createRequire(join(here, 'package.json'))
const hands = JSON.parse(readFileSync(join(here, 'hands.json'), 'utf8'))
const sets = Object.fromEntries([...hands.train, ...hands.icons, ...hands.test, ...hands.last].map(hand =>
  [hand, JSON.parse(readFileSync(require.resolve(`@iconify-json/${hand}/icons.json`), 'utf8'))]))

const things = readFileSync(join(here, 'things.txt'), 'utf8').split('\n').filter(line => line && !line.startsWith('#')).map(line => {
  const [names, kind, emoji, fact] = line.split('|').map(part => part.trim())
  const [first, ...synonyms] = names.split(',').map(name => name.trim())
  const [name, plural = `${name}s`] = first.split('/')
  return { name, plural, synonyms, kind, emoji: emoji.split(' '), fact }
})

/** The icon of a set under a name, or undefined; aliases lead to their parent. */
function iconOf(set, name) {
  const parent = set.aliases?.[name]?.parent ?? name
  const icon = set.icons[parent]
  return icon && { body: icon.body, left: icon.left ?? 0, top: icon.top ?? 0, width: icon.width ?? set.width ?? 16, height: icon.height ?? set.height ?? 16 }
}

const kebab = text => text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
const stem = name => name.replace(/(?:-(?:\d+|flat|duo|one|two|three|four|fill))+$/, '')

/** [[hand, icon name]] of one thing. */
function drawingsOf(thing) {
  const found = []
  for (const hand of [...hands.train, ...hands.test, ...hands.last]) {
    const own = hands.ownNames[hand] ?? {}
    for (const emoji of thing.emoji) {
      const names = [own[emoji] ?? emoji, ...(hand === 'fxemoji' && !own[emoji] ? [emoji.replaceAll('-', '')] : []), ...(hand === 'streamline-emojis' ? [`${emoji}-1`, `${emoji}-2`, `${emoji}-3`, `${emoji}-face`] : [])]
      for (const name of new Set(names)) if (iconOf(sets[hand], name)) found.push([hand, name])
    }
  }
  const called = new Set([thing.name, ...thing.synonyms, ...thing.emoji].map(kebab))
  for (const hand of hands.icons) {
    for (const name of Object.keys(sets[hand].icons)) {
      const smaller = hand === 'fluent-color' && !name.endsWith('-24')  // the same drawing in several sizes
      if (called.has(stem(name)) && !smaller && !hands.notIcons.includes(`${hand}:${name}`)) found.push([hand, name])
    }
  }
  return found
}

/** [side,side,4] bytes: the drawing's content centred in a square with a margin of one pixel. */
async function render(hand, name) {
  const icon = iconOf(sets[hand], name)
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${icon.left} ${icon.top} ${icon.width} ${icon.height}" width="${2 * side}" height="${2 * side}">${icon.body.replaceAll('currentColor', '#222')}</svg>`
  const clear = { r: 0, g: 0, b: 0, alpha: 0 }
  const trimmed = await sharp(Buffer.from(svg)).trim({ background: clear, threshold: 8 }).png().toBuffer()
  return sharp(trimmed).resize(side - 2, side - 2, { fit: 'contain', background: clear }).extend({ top: 1, bottom: 1, left: 1, right: 1, background: clear }).ensureAlpha().raw().toBuffer()
}

const rows = []
const pixels = []
const hashes = { train: new Set(), test: new Set() }
for (const [label, thing] of things.entries()) {
  const seen = new Set()
  for (const [hand, name] of drawingsOf(thing)) {
    const drawing = await render(hand, name)
    const hash = createHash('sha256').update(drawing).digest('hex')
    if (seen.has(hash)) continue
    seen.add(hash)
    const part = hands.train.includes(hand) || hands.icons.includes(hand) ? 'train' : 'test'
    hashes[part].add(hash)
    rows.push({ label, hand, name, part })
    pixels.push(drawing)
  }
}
const leaked = [...hashes.test].filter(hash => hashes.train.has(hash))
if (leaked.length > 0) throw new Error(`${leaked.length} drawings of the test hands are among the training drawings`)
writeFileSync(join(out, 'drawings.bin'), Buffer.concat(pixels))
writeFileSync(join(out, 'drawings.json'), JSON.stringify({ side, things, hands, rows }))

const across = 24
const sheet = process.argv[3] ? rows.map((row, n) => n).filter(n => process.argv[3].split(',').includes(rows[n].hand)) : rows.map((row, n) => n).filter(n => rows[n].label % 16 === 0)
await sharp({ create: { width: across * side, height: Math.ceil(sheet.length / across) * side, channels: 3, background: '#dde' } })
  .composite(sheet.map((n, at) => ({ input: pixels[n], raw: { width: side, height: side, channels: 4 }, left: (at % across) * side, top: Math.floor(at / across) * side }))).png().toFile(join(out, 'drawings.png'))
for (const hand of Object.keys(sets)) {
  const mine = rows.filter(row => row.hand === hand)
  process.stdout.write(`${hand}: ${mine.length} drawings of ${new Set(mine.map(row => row.label)).size} things\n`)
}
