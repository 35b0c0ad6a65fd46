// node web/examples/draw.mjs: draws the examples of the chat page, 384 x 384, out of Noto Emoji (@iconify-json/noto,
// which `npm ci` in models/recipe installs).

import { Buffer } from 'node:buffer'
import { createRequire } from 'node:module'
import path from 'node:path'
import sharp from 'sharp'

const require = createRequire(path.resolve(import.meta.dirname, '../../models/recipe/package.json'))
const noto = require('@iconify-json/noto/icons.json')

/** Things with left, top and side, on a ground. */
const scenes = {
  breakfast: ['#fdf1dc', ['croissant', 30, 40, 150], ['hot-beverage', 205, 30, 150], ['banana', 115, 200, 165]],
  garden: ['#e2f1e0', ['tulip', 30, 20, 165], ['lady-beetle', 220, 60, 120], ['frog', 110, 205, 160]],
  street: ['#e3edf8', ['bus', 25, 150, 165], ['bicycle', 205, 175, 155], ['balloon', 145, 15, 125]],
}

for (const [name, [ground, ...things]] of Object.entries(scenes)) {
  const drawn = await Promise.all(
    things.map(async ([icon, left, top, side]) => {
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128" width="${side}" height="${side}">${noto.icons[icon].body}</svg>`
      return { input: await sharp(Buffer.from(svg)).png().toBuffer(), left, top }
    }),
  )
  await sharp({ create: { width: 384, height: 384, channels: 3, background: ground } })
    .composite(drawn)
    .webp({ quality: 90 })
    .toFile(path.resolve(import.meta.dirname, `${name}.webp`))
}
