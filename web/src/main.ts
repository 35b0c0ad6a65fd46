// Opens what this browser keeps, then shows the page.

import { mount } from 'svelte'
import App from './App.svelte'
import { Page } from './page.svelte'
import { openDatabase } from './store/database'
import './style.css'

const page = new Page(await openDatabase())
await Promise.all([page.chats.load(), page.find.load()])
mount(App, { target: document.getElementById('app') as HTMLElement, props: { page } })
await page.connect()
