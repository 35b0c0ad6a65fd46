// Opens what this browser keeps, then shows the page.

import { mount } from 'svelte'
import App from './App.svelte'
import { Page } from './page.svelte'
import { dropForgotten, openDatabase, type Database } from './store/database'
import './style.css'
import { Words } from './words/words.svelte'

async function show(target: HTMLElement): Promise<void> {
  let database: Database
  try {
    database = await openDatabase()
  } catch {
    // some browsers keep nothing in private windows
    target.textContent = new Words(() => undefined).now.noStorage
    return
  }
  const page = new Page(database)
  await Promise.all([page.chats.load(), page.find.load()])
  mount(App, { target, props: { page } })
  await page.connect()
  await dropForgotten(database)
}

await show(document.getElementById('app') as HTMLElement)
