// How the page looks and is used: on phones, in the dark, by keyboard alone, by screen readers, in three languages.

import test from 'ava'
import axe from 'axe-core'
import type { Page } from 'playwright-core'
import { answer, demo, question, running } from '../server/running.js'
import { answers, ask, closeBrowser, desktop, field, phone, pick, visit, written } from './browser.js'

test.after.always(closeBrowser)

/** What axe finds wrong with what is shown. */
async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source)
  const { violations: found } = await page.evaluate<axe.AxeResults>('axe.run()')
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`))
}

for (const [device, viewport, colorScheme] of [
  ['desktop', desktop, 'light'],
  ['phone', phone, 'dark'],
] as const) {
  test(`axe finds nothing wrong on a ${colorScheme} ${device}`, async (t) => {
    await using here = await running()
    await using visitor = await visit(here.url, { colorScheme, viewport })
    const { page } = visitor
    const check = async (state: string) => {
      await visitor.shoot(`${state}-${device}-${colorScheme}`)
      t.deepEqual(await violations(page), [], state)
    }
    await page.getByRole('button', { name: question }).waitFor()
    await check('welcome')
    await pick(page, [demo])
    await check('draft')
    await ask(page, question)
    await written(page)
    await answers(page).first().getByRole('button', { name: 'Another answer' }).click()
    await written(page)
    await ask(page, 'Where is the dog?')
    await answers(page).nth(1).getByText('tokens/s').waitFor()
    await check('chat')
    await page
      .getByRole('button', { name: /Show the picture/ })
      .first()
      .click()
    await page.getByRole('img', { name: 'What the model sees' }).waitFor()
    await check('picture')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await answers(page).nth(1).getByRole('button', { name: 'Where the model looked' }).click()
    await page.getByRole('button', { name: 'Grey one place after another' }).click()
    await page.locator('figure svg').nth(1).waitFor()
    await check('looked')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    if (device === 'phone') {
      await page.getByRole('button', { name: 'Menu' }).click()
      await check('menu')
    }
    await page.getByRole('button', { name: 'Settings' }).click()
    await page.getByRole('heading', { name: 'Appearance' }).waitFor()
    await check('settings')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    if (device === 'phone') await page.getByRole('button', { name: 'Menu' }).click()
    await page.getByRole('button', { name: 'Find pictures' }).click()
    await page.getByRole('button', { name: 'Add example pictures' }).click()
    await page.getByText('4 pictures', { exact: true }).waitFor()
    await page.getByRole('searchbox').fill('a frog')
    await page.getByText('Likeness').first().waitFor()
    await check('find')
    t.deepEqual(visitor.errors, [])
  })
}

test('on a phone nothing is wider than the screen', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url, { viewport: phone, hasTouch: true, isMobile: true })
  const { page } = visitor
  const fits = () => page.evaluate<boolean>('document.documentElement.scrollWidth <= innerWidth')
  t.true(await fits())
  await page.getByRole('button', { name: question }).tap()
  await answers(page).first().getByText(answer).waitFor()
  t.true(await fits())
  await page.getByRole('button', { name: 'Menu' }).tap()
  await page.getByRole('dialog').getByRole('button', { name: 'New chat' }).tap()
  await page.getByRole('heading', { name: 'Ask about a picture' }).waitFor()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  t.deepEqual(visitor.errors, [])
})

test('all of it can be done by keyboard', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url)
  const { page } = visitor
  await page.getByRole('button', { name: question }).waitFor()
  const focused = () =>
    page.evaluate<string>(`(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()`)
  /** Presses Tab until this has the focus. */
  const tabTo = async (name: string, key = 'Tab'): Promise<void> => {
    for (let pressed = 0; pressed < 60; pressed++) {
      if ((await focused()) === name) return
      await page.keyboard.press(key)
    }
    t.fail(`the keyboard does not reach ${name}`)
  }
  t.is(await focused(), 'Your question')
  await tabTo(question)
  await page.keyboard.press('Enter')
  await answers(page).first().getByText(answer).waitFor()
  await written(page)
  await tabTo('Your question')
  await page.keyboard.type('Is there a cat?')
  await page.keyboard.press('Shift+Enter')
  await page.keyboard.type('Or a dog?')
  t.is(await field(page).inputValue(), 'Is there a cat?\nOr a dog?')
  await page.keyboard.press('Enter')
  await answers(page).nth(1).waitFor()
  await written(page)
  t.is(await focused(), 'Your question')
  await tabTo('Another answer', 'Shift+Tab')
  await page.keyboard.press('Enter')
  await answers(page).nth(1).getByRole('group', { name: 'Version 2 of 2' }).waitFor()
  await tabTo('Edit', 'Shift+Tab')
  await page.keyboard.press('Enter')
  t.is(await focused(), 'Edit the question')
  await page.keyboard.press('Escape')
  await tabTo('Settings')
  await page.keyboard.press('Enter')
  await tabTo('Close')
  await page.keyboard.press('Enter')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  t.is(await focused(), 'Settings') // where it was before
  await tabTo(`Actions for ${question}`, 'Shift+Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('menuitem', { name: 'Rename' }).waitFor()
  await page.keyboard.press('End')
  await page.keyboard.press('Enter')
  await page.getByRole('alertdialog').waitFor()
  await tabTo('Delete')
  await page.keyboard.press('Enter')
  await page.getByText('Your chats will be listed here.').waitFor()
  t.deepEqual(visitor.errors, [])
})

for (const [locale, language, title, settings, other] of [
  ['de-AT', 'de', 'Fragen Sie nach einem Bild', 'Einstellungen', '中文'],
  ['zh-CN', 'zh', '就图片提问', '设置', 'English'],
  ['fr-FR', 'en', 'Ask about a picture', 'Settings', 'Deutsch'],
] as const) {
  test(`a browser of ${locale} sees the page in ${language}, and can have it in ${other}`, async (t) => {
    await using here = await running()
    await using visitor = await visit(here.url, { locale })
    const { page } = visitor
    await page.getByRole('heading', { name: title }).waitFor()
    t.is(await page.locator('html').getAttribute('lang'), language)
    await visitor.shoot(`language-${language}`)
    await page.getByRole('button', { name: settings }).click()
    await page.locator('select').last().selectOption({ label: other })
    await page.reload()
    const heading = { 中文: '就图片提问', English: 'Ask about a picture', Deutsch: 'Fragen Sie nach einem Bild' }[other]
    await page.getByRole('heading', { name: heading }).waitFor()
    t.deepEqual(visitor.errors, [])
  })
}

test('light and dark are as the system has them, until they are chosen', async (t) => {
  await using here = await running()
  await using visitor = await visit(here.url, { colorScheme: 'dark' })
  const { page } = visitor
  const ground = () => page.evaluate('getComputedStyle(document.body).backgroundColor')
  const dark = await ground()
  await page.emulateMedia({ colorScheme: 'light' })
  const light = await ground()
  t.not(dark, light)
  await page.getByRole('button', { name: 'Settings' }).click()
  await page.getByRole('combobox', { name: 'Theme' }).selectOption('Dark')
  t.is(await ground(), dark)
  await page.reload()
  t.is(await ground(), dark)
})
