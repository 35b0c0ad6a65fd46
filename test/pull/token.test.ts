// Where the token comes from: HF_TOKEN, or the file that `hf auth login` writes, where huggingface_hub looks for it.

import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { llava } from '../command.js'
import { environment, withServer } from './downloads.js'
import { repository, status } from './hub-server.js'

for (const [what, file, env, expected] of [
  ['HF_TOKEN comes first', 'elsewhere', { HF_TOKEN: 'hf_own', HF_TOKEN_PATH: 'elsewhere' }, 'Bearer hf_own'],
  ['HF_TOKEN_PATH names the file', 'elsewhere', { HF_TOKEN_PATH: 'elsewhere', HF_HOME: 'home' }, 'Bearer hf_saved'],
  ['it is `token` in HF_HOME', 'home/token', { HF_HOME: 'home', XDG_CACHE_HOME: 'cache' }, 'Bearer hf_saved'],
  ['without HF_HOME, in XDG_CACHE_HOME', 'cache/huggingface/token', { XDG_CACHE_HOME: 'cache' }, 'Bearer hf_saved'],
  ['else in the home directory', '.cache/huggingface/token', {}, 'Bearer hf_saved'],
  ['a tilde is the home directory', 'mine', { HF_TOKEN_PATH: '~/mine' }, 'Bearer hf_saved'],
  ['a switch turns the file off', 'home/token', { HF_HOME: 'home', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }, undefined],
  ['but not HF_TOKEN', 'other', { HF_TOKEN: 'hf_own', HF_HUB_DISABLE_IMPLICIT_TOKEN: 'true' }, 'Bearer hf_own'],
  ['no file, no token', 'other', {}, undefined],
] as const) {
  test(`the token: ${what}`, async (t) => {
    await withServer(async (place) => {
      const at = (name: string) => path.join(place.folder, name)
      await mkdir(path.dirname(at(file)), { recursive: true })
      await writeFile(at(file), 'hf_saved\n')
      const isPath = (value: string) => !/^(?:hf_|1|true|~)/.test(value)
      const given = Object.entries(env).map(([name, value]) => [name, isPath(value) ? at(value) : value])
      const cleared = { HF_TOKEN_PATH: '', XDG_CACHE_HOME: '', HOME: place.folder, USERPROFILE: place.folder }
      const set = Object.fromEntries(given) as NodeJS.ProcessEnv
      const { code } = await llava(['pull', repository], '', { ...environment(place), ...cleared, ...set })
      t.is(code, 0)
      const sent = (server: string) => {
        const requests = place.server.requests.filter((one) => one.server === server)
        return [...new Set(requests.map(({ headers }) => headers.authorization))]
      }
      t.deepEqual(sent('hub'), [expected])
      t.deepEqual(sent('store'), [undefined])
    })
  })
}

test('where access is denied, both ways to bring a token are named', async (t) => {
  await withServer(async (place) => {
    place.server.hubFaults = [status(401)]
    const { stderr, code } = await llava(['pull', repository], '', environment(place))
    t.regex(stderr, /run `hf auth login` or set HF_TOKEN/)
    t.is(code, 1)
  })
})
