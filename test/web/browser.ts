// The chat page in a real browser: Debian's Chromium, or the one that CHROMIUM names, driven by Playwright.

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium, type Browser, type BrowserContextOptions, type CDPSession, type Page } from 'playwright-core'

const screenshots = fileURLToPath(new URL('../../../build/web-screenshots', import.meta.url))

export const desktop = { width: 1280, height: 800 } as const
export const phone = { width: 390, height: 844 } as const

let browser: Promise<Browser> | undefined

function launched(): Promise<Browser> {
  return (browser ??= chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    // a camera that shows a test picture, and that nobody has to be asked for
    args: ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
  }))
}

/** To be called when all tests of a file are done. */
export async function closeBrowser(): Promise<void> {
  await (await browser)?.close()
}

export interface Visit extends AsyncDisposable {
  readonly page: Page
  /** Errors that the page wrote to its console or did not catch: none but those that the test expects. */
  readonly errors: string[]
  /** The protocol of Chromium's developer tools. */
  readonly tools: () => Promise<CDPSession>
  /** Keeps what is seen as build/web-screenshots/NAME.png. */
  readonly shoot: (name: string) => Promise<void>
}

/** Opens the page as somebody who has never been there. */
export async function visit(url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await (await launched()).newContext({ viewport: desktop, locale: 'en-US', ...options })
  context.setDefaultTimeout(30_000)
  const page = await context.newPage()
  const errors: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(url)
  return {
    page,
    errors,
    tools: () => context.newCDPSession(page),
    async shoot(name) {
      mkdirSync(screenshots, { recursive: true })
      await page.screenshot({ path: path.join(screenshots, `${name}.png`), animations: 'disabled' })
    },
    async [Symbol.asyncDispose]() {
      await context.close()
    },
  }
}

/** The answers that are shown, in their order. */
export function answers(page: Page) {
  return page.getByRole('log').getByRole('article', { name: /:$/ })
}

/** The field for a question. */
export function field(page: Page) {
  return page.getByRole('textbox', { name: 'Your question' })
}

/** Asks a question as somebody at a keyboard does. */
export async function ask(page: Page, question: string): Promise<void> {
  await field(page).fill(question)
  await field(page).press('Enter')
}

/** Opens one of the chats that are listed. */
export async function openChat(page: Page, title: string): Promise<void> {
  await page.getByRole('complementary').getByRole('button', { name: title, exact: true }).click()
}

/** Chooses files as pictures. */
export async function pick(page: Page, files: readonly string[]): Promise<void> {
  const kept = page.getByRole('button', { name: 'Remove this picture' })
  const before = await kept.count()
  await page.locator('form input[type=file]:not([capture])').setInputFiles([...files])
  await kept.nth(before + files.length - 1).waitFor()
}

/** Waits until all answers that are shown are written. */
export async function written(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Send' }).waitFor()
  await page.getByRole('button', { name: 'Another answer' }).last().waitFor()
}
