// What the completion scripts offer for names of models: the well-known ones to pull, and those that were pulled
// everywhere else.

import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { pullFrom } from '../../lib/hub/pull.js'
import { templateNames } from '../../lib/index.js'
import { llava } from '../command.js'
import { withServer, type Place } from './downloads.js'
import { commit } from './hub-server.js'

const run = promisify(execFile)

/** What bash offers for the last of these words, where `folder` is the cache and the directory. */
async function offers({ folder }: Place, ...words: readonly string[]): Promise<readonly string[]> {
  const script = path.join(folder, 'llava.bash')
  await writeFile(script, (await llava(['completion', 'bash'])).stdout)
  const ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _llava; printf "%s\\n" "${COMPREPLY[@]}"'
  const env = { ...process.env, HF_HUB_CACHE: folder }
  const { stdout } = await run('bash', ['-c', ask, 'bash', script, 'llava', ...words], { cwd: folder, env })
  return stdout.split('\n').filter((line) => line !== '')
}

async function addRepository({ folder }: Place, name: string, files: Readonly<Record<string, string>>): Promise<void> {
  const repository = path.join(folder, `models--${name}`)
  for (const part of ['refs', `snapshots/${commit}`]) await mkdir(path.join(repository, part), { recursive: true })
  await writeFile(path.join(repository, 'refs', 'main'), commit)
  const snapshot = path.join(repository, 'snapshots', commit)
  for (const [file, text] of Object.entries(files)) await writeFile(path.join(snapshot, file), text)
}

test('names of models are completed: known ones to pull, pulled ones to open, show and delete', async (t) => {
  await withServer(async (place) => {
    await pullFrom(place.settings, 'owner/tiny-GGUF', {}, new AbortController().signal)
    await addRepository(place, 'second-state--Llava-v1.5-7B-GGUF', { 'x.gguf': '' })
    await addRepository(place, 'a--check-point', { 'config.json': '{"model_type":"llava"}' })
    await addRepository(place, 'a--bert', { 'config.json': '{"model_type":"bert"}' })
    await addRepository(place, 'a--$(touch pwned)', { 'x.gguf': '' })
    await mkdir(path.join(place.folder, 'models--gone--gone'))
    await mkdir(path.join(place.folder, 'own models'))
    const names = ['a/check-point', 'owner/tiny-GGUF', 'llava-1.5-7b']
    t.deepEqual(await offers(place, 'pull', ''), ['llava-1.5-7b', 'llava-1.5-13b'])
    t.deepEqual([...(await offers(place, 'rm', ''))].sort(), names.toSorted())
    t.deepEqual([...(await offers(place, 'rm', 'a/check-point', ''))].sort(), names.toSorted())
    t.deepEqual([...(await offers(place, 'show', ''))].sort(), ['default', ...names].sort())
    t.deepEqual(await offers(place, 'ask', '--model', 'o'), ['owner/tiny-GGUF', 'own models'])
    t.deepEqual(await offers(place, 'info', '-m', 'd'), ['default'])
    t.deepEqual(
      await offers(place, 'ask', '--template', 'vic'),
      templateNames.filter((name) => name.startsWith('vic')),
    )
    t.deepEqual(await offers(place, 'ask', '--model', 'pwned'), [])
  })
})

test('the scripts of zsh and fish offer them too, by the same words', async (t) => {
  const zsh = (await llava(['completion', 'zsh'])).stdout
  const fish = (await llava(['completion', 'fish'])).stdout
  t.true(zsh.includes(":value:_llava_models'"))
  t.true(zsh.includes("'*:name: _llava_names default'"))
  t.true(zsh.includes("'1:value:(llava-1.5-7b llava-1.5-13b)'"))
  t.true(fish.includes("-n '__fish_seen_subcommand_from rm' -f -a '(__llava_pulled)'\n"))
  t.true(fish.includes(` -l model -s m -r -a 'default (__llava_pulled)' `))
  t.true(fish.includes(` -l template -x -a '${templateNames.join(' ')}' `))
})

test('the words that fish hands to sh find the same names', async (t) => {
  await withServer(async (place) => {
    await addRepository(place, 'a--check-point', { 'config.json': '{"model_type":"llava"}' })
    const [, quoted = ''] = /\n {2}sh -c '([^]*?)\n'\nend\n/.exec((await llava(['completion', 'fish'])).stdout) ?? []
    const words = quoted.replace(/\\(['\\])/g, '$1')
    const { stdout } = await run('sh', ['-c', words], { env: { ...process.env, HF_HUB_CACHE: place.folder } })
    t.is(stdout, 'a/check-point\n')
  })
})
