// Pictures come to the page by drop, paste, camera and choice, and are shown as the model sees them.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { LLaVA } from '../../lib/index.js'
import { serve } from '../../lib/server/index.js'
import { answer, demo, demoBase64, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, field, pick, visit, written, type Visit } from './browser.js'

test.after.always(closeBrowser)

/** Drops files into the middle of the page, as the system's file manager does. */
async function drop({ tools }: Visit, files: readonly string[]): Promise<void> {
  const session = await tools()
  const data = { items: [], files: [...files], dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await session.send('Input.dispatchDragEvent', { type, x: 640, y: 300, data })
}

function drafted(page: Page) {
  return page.getByRole('button', { name: 'Remove this picture' })
}

test('a picture that is dropped is asked about', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await field(page).waitFor()
  await drop(visitor, [demo])
  await drafted(page).waitFor()
  await visitor.shoot('dropped')
  await ask(page, question)
  await answers(page).first().getByText(answer).waitFor()
  t.deepEqual(visitor.errors, [])
})

test('a picture that is pasted is asked about', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await page.evaluate(`navigator.clipboard.write([new ClipboardItem({
    'image/png': new Blob([Uint8Array.from(atob('${demoBase64}'), (c) => c.charCodeAt(0))], { type: 'image/png' }),
  })])`)
  await field(page).press('Control+V')
  await drafted(page).waitFor()
  await ask(page, question)
  await answers(page).first().getByText(answer).waitFor()
  t.deepEqual(visitor.errors, [])
})

test('the camera takes a picture', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: 'Take a photo' }).first().click()
  await page.getByRole('button', { name: 'Take the photo' }).and(page.locator(':enabled')).waitFor()
  await visitor.shoot('camera')
  await page.getByRole('button', { name: 'Take the photo' }).click()
  await drafted(page).waitFor()
  t.is(await drafted(page).count(), 1)
  t.deepEqual(visitor.errors, [])
})

test('what is no picture is said to be none, and large pictures are made smaller', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  const folder = await mkdtemp(path.join(tmpdir(), 'llava-pictures-'))
  const [text, broken, large] = ['notes.txt', 'broken.png', 'large.png'].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ]
  await writeFile(text, 'no picture')
  await writeFile(broken, 'no picture either')
  const noise = randomBytes(3000 * 1000 * 3)
  await sharp(noise, { raw: { width: 3000, height: 1000, channels: 3 } })
    .png()
    .toFile(large)
  await field(page).waitFor()
  await drop(visitor, [text, broken])
  await page.getByText('1 file left out: not a picture.').waitFor()
  await page.getByText('1 picture could not be read.').waitFor()
  await visitor.shoot('notices')
  t.is(await drafted(page).count(), 0)
  await pick(page, [large])
  await page.getByRole('button', { name: 'Show the picture: large.png' }).click()
  await page.getByText('2048 × 683 pixels').waitFor()
  t.deepEqual(visitor.errors, [])
  await rm(folder, { recursive: true })
})

test('what the model sees is what the library makes of the picture', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  const wide = await mkdtemp(path.join(tmpdir(), 'llava-wide-'))
  const file = path.join(wide, 'wide.png')
  await sharp(demo).resize(384, 200, { fit: 'cover' }).png().toFile(file)
  await pick(page, [file])
  await page.getByRole('button', { name: 'Show the picture: wide.png' }).click()
  const seen = page.getByRole('img', { name: 'What the model sees' })
  await seen.waitFor()
  await visitor.shoot('what-the-model-sees')
  const [, base64 = ''] = ((await seen.getAttribute('src')) ?? '').split(',')
  const { data } = await sharp(Buffer.from(base64, 'base64')).raw().toBuffer({ resolveWithObject: true })
  t.deepEqual(new Uint8Array(data), (await here.model.preprocessed(await readFile(file))).data)
  t.deepEqual(visitor.errors, [])
  await rm(wide, { recursive: true })
})

test('a model of text says so, and takes no pictures', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'llava-text-'))
  const text = path.join(folder, 'text.gguf')
  const pair = fileURLToPath(new URL('../../../test/fixtures/golden/gguf-pair-f16/checkpoint/', import.meta.url))
  await writeFile(text, await readFile(path.join(pair, 'model-f16.gguf')))
  await using model = await LLaVA.open(text, { threads: 1 })
  await using seeing = await LLaVA.open(undefined, { threads: 1 })
  await using server = await serve({ port: 0, models: { words: model, seeing } })
  await using visitor = await visit(server.url)
  const { page } = visitor
  await page.getByText('words reads text only: it takes no pictures.').first().waitFor()
  t.is(await page.getByRole('button', { name: 'Choose pictures' }).count(), 0)
  await visitor.shoot('text-only')
  await drop(visitor, [demo])
  await page.locator('.notice').getByText('words reads text only').waitFor()
  t.is(await drafted(page).count(), 0)
  await ask(page, 'a')
  await answers(page)
    .first()
    .getByText(/\d tokens?$/)
    .waitFor()

  // it goes on where a model that sees began
  await page.getByRole('button', { name: 'New chat' }).click()
  await page.getByRole('combobox', { name: 'Model' }).selectOption('seeing')
  await pick(page, [demo])
  await ask(page, question)
  await answers(page).first().getByText(answer).waitFor()
  await page.getByRole('combobox', { name: 'Model' }).selectOption('words')
  await written(page)
  await ask(page, 'a')
  await answers(page)
    .nth(1)
    .getByText(/\d tokens?$/)
    .waitFor()
  t.deepEqual(visitor.errors, [])
  await rm(folder, { recursive: true })
})
