// Pictures are found by words, and by pictures that are like them.

import test from 'ava'
import sharp from 'sharp'
import { running } from '../server/running.js'
import { closeBrowser, visit } from './browser.js'

test.after.always(closeBrowser)

test('dropped pictures are found by words and by likeness, also after a reload', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: 'Find pictures' }).click()
  await visitor.shoot('find-empty')
  await page.getByRole('button', { name: 'Add example pictures' }).click()
  await page.getByText('4 pictures', { exact: true }).waitFor()
  const nearest = page.getByRole('main').getByRole('listitem').first()
  const search = async (words: string, name: string) => {
    await page.getByRole('searchbox').fill(words)
    await nearest.getByRole('button', { name: `Show the picture: ${name}` }).waitFor()
  }
  await search('a tulip', 'garden')
  await search('a drawing of a rocket', 'things')
  await search('a drawing of a bus', 'street')
  await visitor.shoot('find')
  await page.reload()
  await page.getByRole('button', { name: 'Find pictures' }).click()
  await search('a banana', 'breakfast')
  await nearest.getByRole('button', { name: 'Find pictures like this one' }).click()
  await nearest.getByText('1.00').waitFor()
  await visitor.shoot('find-like')
  await nearest.getByRole('button', { name: 'Remove this picture' }).click()
  await page.getByText('3 pictures', { exact: true }).waitFor()
  await nearest.getByRole('button', { name: 'Ask about it' }).click()
  await page.getByRole('button', { name: 'Remove this picture' }).waitFor()
  t.deepEqual(visitor.errors, [])
})

test('a picture that the server cannot read keeps no other from being found', async (t) => {
  await using here = await running({}, { maxPixels: 150_000 }) // the examples have fewer
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: 'Find pictures' }).click()
  await page.getByRole('button', { name: 'Add example pictures' }).click()
  await page.getByText('4 pictures', { exact: true }).waitFor()
  const large = await sharp({ create: { width: 500, height: 500, channels: 3, background: '#808080' } })
    .png()
    .toBuffer()
  const file = { name: 'large.png', mimeType: 'image/png', buffer: large }
  await page.locator('input[type=file]:not([capture])').first().setInputFiles([file])
  await page.getByText('5 pictures', { exact: true }).waitFor()
  await page.getByRole('searchbox').fill('a tulip')
  const pictures = page.getByRole('main').getByRole('listitem')
  await pictures.first().getByRole('button', { name: 'Show the picture: garden' }).waitFor()
  await pictures.nth(3).getByText('Likeness').waitFor()
  t.is(await pictures.nth(4).getByText('Likeness').count(), 0)
  t.true(visitor.errors.every((error) => error.includes('400')))
})
