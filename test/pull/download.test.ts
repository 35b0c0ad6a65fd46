// Downloads from a server that does everything a server and a network can do wrong: what ends well is whole, and what does not is no model.

import { mkdir, open, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { LlavaError, type LlavaErrorCode, type PullProgress } from '../../lib/index.js'
import { findPulled } from '../../lib/hub/named-model.js'
import { blobOf, isWhole, language, partBytes, vision, withServer, type Place } from './downloads.js'
import { always, commit, dropAfter, rangeOf, repository, sendRange, sha256, status, type Fault } from './hub-server.js'

const name = { text: repository, repository }

async function assertNoModel(t: ExecutionContext, { folder, listed }: Place): Promise<void> {
  t.deepEqual(
    (await listed()).filter((file) => /snapshots|refs/.test(file) || file === blobOf(language)),
    [],
  )
  await t.throwsAsync(findPulled(name, folder), {
    instanceOf: LlavaError,
    code: 'MODEL_NOT_FOUND',
    message: /run `llava pull owner\/tiny-GGUF`/,
  })
}

test('a pair of four bits is downloaded, laid out as huggingface_hub does it', async (t) => {
  await withServer(async ({ pull, cached, listed, folder }) => {
    const { elapsedMs, ...result } = await pull()
    const at = (file: string) => path.join(cached, 'snapshots', commit, file)
    const files = [
      { path: at('tiny-Q4_K_M.gguf'), nbytes: language.length, sha256: sha256(language) },
      { path: at('tiny-mmproj-f16.gguf'), nbytes: vision.length, sha256: sha256(vision) },
    ]
    t.deepEqual(result, {
      repository,
      commit,
      license: 'llama2',
      model: files[0]?.path ?? '',
      mmproj: files[1]?.path ?? '',
      files,
    })
    t.true(elapsedMs > 0)
    t.true(await isWhole({ ...result, elapsedMs }))
    t.is(await readlink(at('tiny-Q4_K_M.gguf')), path.join('..', '..', 'blobs', sha256(language)))
    t.is(await readFile(path.join(cached, 'refs', 'main'), 'utf8'), commit)
    const names = ['refs/main', `snapshots/${commit}/tiny-Q4_K_M.gguf`, `snapshots/${commit}/tiny-mmproj-f16.gguf`].map(
      (file) => path.join('models--owner--tiny-GGUF', file),
    )
    t.deepEqual(await listed(), [blobOf(language), blobOf(vision), ...names].sort())
    t.deepEqual(await findPulled(name, folder), { model: result.model, mmproj: result.mmproj ?? '' })
  })
})

test('several parts are downloaded at once, each once', async (t) => {
  await withServer(async ({ server, pull }) => {
    const waiting: (() => void)[] = []
    const together: Fault = (request, response, bytes) => {
      waiting.push(() => {
        sendRange(request, response, bytes)
      })
      if (waiting.length === 4) for (const answer of waiting) answer() // never comes to be where they come one by one
      return true
    }
    server.storeFaults = [together, together, together, together]
    t.true(await isWhole(await pull()))
    const parts = Math.ceil(language.length / partBytes) + Math.ceil(vision.length / partBytes)
    t.is(server.ranges.length, parts)
  })
})

test('connections that drop are taken up where they broke', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.storeFaults = [5000, 0, 700, 16_000, 1].map(dropAfter)
    t.true(await isWhole(await pull({}, { connections: 1 })))
    const asked = [
      [0, 16_383],
      [5000, 16_383],
      [5000, 16_383],
      [5700, 16_383],
      [16_384, 32_767],
      [16_385, 32_767],
      [32_768, 49_151],
    ]
    t.deepEqual(
      server.ranges.slice(0, 7),
      asked.map((range) => `bytes=${range.join('-')}`),
    )
  })
})

test('connections that drop again and again are no reason to stop, as long as each brings something', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.storeFaults = new Array<Fault>(9).fill(dropAfter(500))
    t.true(await isWhole(await pull({}, { connections: 1 })))
  })
})

test('connections that always drop end the download after tries that bring nothing, with what came before kept', async (t) => {
  await withServer(async (place) => {
    const { server, pull, listed } = place
    server.storeFaults = [dropAfter(5000), ...always(dropAfter(0))]
    const error = await t.throwsAsync<LlavaError>(pull({}, { connections: 1 }), {
      instanceOf: LlavaError,
      code: 'DOWNLOAD_FAILED',
      message: /connection failed .* is kept/,
    })
    t.true(error?.cause instanceof Error)
    t.deepEqual(await listed(), [`${blobOf(language)}.llava-incomplete`])
    await assertNoModel(t, place)
    server.storeFaults = []
    t.true(await isWhole(await pull({}, { connections: 1 })))
    t.is(server.ranges.filter((range) => range?.startsWith('bytes=0-') === true).length, 2) // one is the vision half's
  })
})

test('a server that ignores ranges is read from the beginning, also where a part is here', async (t) => {
  await withServer(async ({ server, pull }) => {
    const whole: Fault = (_request, response, bytes) => {
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      return true
    }
    server.storeFaults = [dropAfter(9000), ...always(dropAfter(0))]
    await t.throwsAsync(pull({}, { connections: 1 }))
    server.storeFaults = always(whole)
    t.true(await isWhole(await pull()))
  })
})

test('a server that ignores ranges and drops is read again, and again', async (t) => {
  await withServer(async ({ server, pull }) => {
    const wholeUntil =
      (nbytes: number): Fault =>
      (request, response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length })
        if (request.headers.range !== undefined || nbytes === Infinity) response.end(bytes)
        else response.write(bytes.subarray(0, nbytes), () => response.destroy())
        return true
      }
    server.storeFaults = [
      wholeUntil(1),
      wholeUntil(1),
      wholeUntil(1),
      wholeUntil(1),
      wholeUntil(90_000),
      wholeUntil(10),
      ...always(wholeUntil(Infinity)),
    ]
    t.true(await isWhole(await pull()))
  })
})

/** A body of other bytes than its headers say. */
const lyingLength =
  (stated: (asked: number) => number): Fault =>
  (request, response, bytes) => {
    const { first, end } = rangeOf(request, bytes)
    const length = Math.max(1, stated(end - first))
    response.writeHead(206, { 'content-length': length, 'content-range': `bytes ${first}-${end - 1}/${bytes.length}` })
    response.write(bytes.subarray(first, Math.min(end, first + length)), () => {
      if (length > end - first) response.destroy()
      else response.end()
    })
    return true
  }

test('a Content-Length that is too short costs a request, one that is too long nothing', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.storeFaults = [lyingLength((asked) => asked - 1000), lyingLength((asked) => asked * 2), lyingLength(() => 1)]
    t.true(await isWhole(await pull()))
  })
})

test('more bytes than were asked for are not taken', async (t) => {
  await withServer(async ({ server, pull }) => {
    const generous: Fault = (request, response, bytes) => {
      const { first, end } = rangeOf(request, bytes)
      response.writeHead(206, { 'content-range': `bytes ${first}-${end - 1}/${bytes.length}` })
      response.end(Buffer.concat([bytes.subarray(first, end), Buffer.alloc(50_000, 7)]))
      return true
    }
    server.storeFaults = always(generous)
    t.true(await isWhole(await pull()))
  })
})

for (const [what, rangeHeader] of [
  [
    'other bytes',
    (first: number, end: number) => ({ 'content-range': `bytes ${first + 1}-${end}/${language.length}` }),
  ],
  [
    'a file of another length',
    (first: number, end: number) => ({ 'content-range': `bytes ${first}-${end - 1}/${language.length + 1}` }),
  ],
  ['nobody knows what', () => ({})],
] as const) {
  test(`a part of ${what} is refused`, async (t) => {
    await withServer(async (place) => {
      place.server.storeFaults = always((request, response, bytes) => {
        const { first, end } = rangeOf(request, bytes)
        response.writeHead(206, rangeHeader(first, end)).end(bytes.subarray(first, end))
        return true
      })
      await t.throwsAsync(place.pull(), {
        instanceOf: LlavaError,
        code: 'DOWNLOAD_FAILED',
        message: /it sends .* of 200000 bytes/,
      })
      await assertNoModel(t, place)
    })
  })
}

test('a whole file of another length is refused before its bytes are read', async (t) => {
  await withServer(async (place) => {
    place.server.storeFaults = always((_request, response) => {
      response.writeHead(200, { 'content-length': 5 }).end('12345')
      return true
    })
    await t.throwsAsync(place.pull(), {
      instanceOf: LlavaError,
      code: 'DOWNLOAD_FAILED',
      message: /it calls 200000 bytes 5/,
    })
    await assertNoModel(t, place)
  })
})

for (const [what, faults] of [
  [
    'in parts',
    always((request, response, bytes) => {
      const other = Buffer.from(bytes)
      other[other.length - 1]! ^= 1
      sendRange(request, response, other)
      return true
    }),
  ],
  [
    'as a whole',
    always((_request, response, bytes) => {
      const other = Buffer.from(bytes)
      other[0]! ^= 1
      response.writeHead(200).end(other)
      return true
    }),
  ],
] as const) {
  test(`a file with one other bit, sent ${what}, becomes no model and leaves nothing`, async (t) => {
    await withServer(async (place) => {
      place.server.storeFaults = faults
      await t.throwsAsync(place.pull(), {
        instanceOf: LlavaError,
        code: 'MODEL_CORRUPT',
        message: /SHA-256.*try again/,
      })
      t.deepEqual(await place.listed(), [])
      await assertNoModel(t, place)
    })
  })
}

test('a vision half that fails leaves a language model that is no model yet', async (t) => {
  await withServer(async ({ server, pull, listed, folder }) => {
    const failVision: Fault = (request, response, bytes) => {
      if (bytes.length === vision.length) response.writeHead(500).end()
      else sendRange(request, response, bytes)
      return true
    }
    server.storeFaults = always(failVision)
    await t.throwsAsync(pull(), { code: 'DOWNLOAD_FAILED' })
    t.deepEqual(
      (await listed()).filter((file) => !file.endsWith('incomplete')),
      [blobOf(language)],
    )
    await t.throwsAsync(findPulled(name, folder), { code: 'MODEL_NOT_FOUND' })
    const before = server.ranges.length
    server.storeFaults = []
    t.true(await isWhole(await pull()))
    t.is(server.ranges.length - before, 2)
  })
})

test('names that cannot all be given make no model, also where the commit is known already', async (t) => {
  await withServer(async (place) => {
    const { pull, cached } = place
    await mkdir(path.join(cached, 'snapshots', commit, 'tiny-mmproj-f16.gguf'), { recursive: true })
    await mkdir(path.join(cached, 'refs'))
    await writeFile(path.join(cached, 'refs', 'main'), commit)
    await t.throwsAsync(pull(), { instanceOf: LlavaError, code: 'OUTPUT_FAILED', message: /a directory has this name/ })
    await t.throwsAsync(findPulled(name, place.folder), { code: 'MODEL_NOT_FOUND' })
  })
})

for (const [what, faults, token, code, words] of [
  ['a repository that is not there', [status(404)], undefined, 'MODEL_NOT_FOUND', /check its spelling/],
  ['a repository that is shown to some, without a token', [status(401)], undefined, 'ACCESS_DENIED', /set HF_TOKEN/],
  [
    'terms that were not accepted',
    [status(403, { 'x-error-message': 'Access is restricted' })],
    'hf_x',
    'ACCESS_DENIED',
    /accept the terms/,
  ],
  [
    'too many requests for an hour',
    [status(429, { 'retry-after': '3600' })],
    undefined,
    'DOWNLOAD_FAILED',
    /too many requests; try again in 3600 s/,
  ],
  [
    'a server that stays down',
    always(status(503)),
    undefined,
    'DOWNLOAD_FAILED',
    /cannot answer now; try again later .status 503/,
  ],
  ['a server that is none of a hub', [status(200)], undefined, 'DOWNLOAD_FAILED', /check HF_ENDPOINT/],
  ['a redirect without end', always(status(302, { location: '/' })), undefined, 'DOWNLOAD_FAILED', /redirect/],
] as const) {
  test(`${what} is ${code}`, async (t) => {
    await withServer(async (place) => {
      place.server.hubFaults = [...faults]
      const error = await t.throwsAsync<LlavaError>(place.pull({}, token === undefined ? {} : { token }), {
        instanceOf: LlavaError,
        code,
        message: words,
      })
      t.true(error?.cause instanceof Error)
      t.deepEqual(await place.listed(), [])
    })
  })
}

test('a server that is busy for a while is asked again, no sooner than it says', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.hubFaults = [status(503), status(429, { 'retry-after': '1' }), status(500)]
    server.storeFaults = [status(502), status(503), status(429, { 'retry-after': '0' }), status(403)] // an address that expired is signed anew
    const start = performance.now()
    t.true(await isWhole(await pull()))
    t.true(performance.now() - start >= 1000)
  })
})

test('a server that falls silent is asked again', async (t) => {
  await withServer(async ({ server, pull }) => {
    const silent: Fault = () => true
    server.storeFaults = [silent]
    t.true(await isWhole(await pull({}, { silenceMs: 1000 })))
  })
})

test('a server that cannot be reached is DOWNLOAD_FAILED, with the reason', async (t) => {
  await withServer(async ({ server, pull }) => {
    server[Symbol.dispose]()
    await t.throwsAsync(pull(), {
      instanceOf: LlavaError,
      code: 'DOWNLOAD_FAILED',
      message: /ECONNREFUSED.*HF_ENDPOINT/,
    })
  })
})

test('the hub gets the token, and whom it redirects to does not', async (t) => {
  await withServer(async ({ server, pull }) => {
    await pull({}, { token: 'hf_secret' })
    const [hub, store] = (['hub', 'store'] as const).map((which) =>
      server.requests.filter((one) => one.server === which).map(({ headers }) => headers.authorization),
    )
    t.deepEqual([...new Set(hub)], ['Bearer hf_secret'])
    t.deepEqual([...new Set(store)], [undefined])
  })
})

test('a listing that breaks off is asked for again', async (t) => {
  await withServer(async ({ server, pull }) => {
    const breakOff: Fault = (_request, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('{"sha":', () => response.destroy())
      return true
    }
    server.hubFaults = [breakOff, breakOff]
    t.true(await isWhole(await pull()))
  })
})

test('a listing that goes on elsewhere is read there, without the token', async (t) => {
  await withServer(async ({ server, pull }) => {
    const goOn: Fault = (request, response) => {
      if (request.url?.includes('/tree/') !== true) return false
      response
        .writeHead(200, { 'content-type': 'application/json', link: `<${server.store}/page>; rel="next"` })
        .end('[]')
      return true
    }
    server.hubFaults = [goOn]
    server.storeFaults = [(_request, response) => (response.end('[]'), true)]
    await t.throwsAsync(pull({}, { token: 'hf_secret' }), { code: 'MODEL_NOT_FOUND', message: /no GGUF file/ })
    t.deepEqual(
      server.requests.map(({ server: which, headers }) => `${which} ${headers.authorization}`),
      ['hub Bearer hf_secret', 'hub Bearer hf_secret', 'store undefined'],
    )
  })
})

test('what is here is not downloaded, and nobody is asked', async (t) => {
  await withServer(async ({ server, pull }) => {
    await pull()
    const before = server.ranges.length
    t.true(await isWhole(await pull({ confirm: () => false })))
    t.is(server.ranges.length, before)
  })
})

test('a download that is not confirmed does not begin; whoever is asked hears what is here already', async (t) => {
  await withServer(async (place) => {
    const { server, pull, folder } = place
    await t.throwsAsync(pull({ confirm: () => false }), { instanceOf: LlavaError, code: 'ABORTED' })
    t.is(server.ranges.length, 0)
    await assertNoModel(t, place)
    server.storeFaults = [dropAfter(5000), ...always(dropAfter(0))]
    await t.throwsAsync(pull({}, { connections: 1 }))
    await t.throwsAsync(
      pull({
        confirm: (plan) => {
          const files = [
            { path: 'tiny-Q4_K_M.gguf', nbytes: 200_000, received: 5000 },
            { path: 'tiny-mmproj-f16.gguf', nbytes: 20_000, received: 0 },
          ]
          t.deepEqual(plan, { repository, license: 'llama2', cacheDirectory: folder, files, missingBytes: 215_000 })
          return false
        },
      }),
      { code: 'ABORTED' },
    )
  })
})

test('a disk without room is told before anything is asked for', async (t) => {
  await withServer(async (place) => {
    place.server.stated = { nbytes: 2 ** 52 }
    await t.throwsAsync(place.pull({ confirm: () => t.fail() }), {
      instanceOf: LlavaError,
      code: 'OUTPUT_FAILED',
      message: /bytes are to be written, but its disk has \d+ free/,
    })
    t.is(place.server.ranges.length, 0)
    await assertNoModel(t, place)
  })
})

for (const hostile of [
  '../x.gguf',
  'a/../../x.gguf',
  '/x.gguf',
  'a//x.gguf',
  './x.gguf',
  'a\\..\\x.gguf',
  'C:x.gguf',
  'x\0.gguf',
]) {
  test(`a file called ${JSON.stringify(hostile)} is refused`, async (t) => {
    await withServer(async ({ server, pull, listed }) => {
      server.stated = { path: hostile }
      await t.throwsAsync(pull(), { instanceOf: LlavaError, code: 'DOWNLOAD_FAILED', message: /would leave the cache/ })
      t.deepEqual(await listed(), [])
    })
  })
}

for (const [what, stated] of [
  ['no checksum', { sha256: '../../../etc/passwd' }],
  ['a length below zero', { nbytes: -1 }],
  ['a length that is no whole number', { nbytes: 1.5 }],
] as const) {
  test(`a listing with ${what} is refused`, async (t) => {
    await withServer(async ({ server, pull, listed }) => {
      server.stated = stated
      await t.throwsAsync(pull(), {
        instanceOf: LlavaError,
        code: 'DOWNLOAD_FAILED',
        message: /the hub gives .* for it/,
      })
      t.deepEqual(await listed(), [])
    })
  })
}

test('progress counts every byte once, also after drops', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.storeFaults = [dropAfter(5000), dropAfter(100)]
    const heard: PullProgress[] = []
    await pull({ onProgress: (progress) => heard.push(progress) })
    t.deepEqual(heard.at(-1), { file: 'tiny-mmproj-f16.gguf', stage: 'download', done: 220_000, total: 220_000 })
    t.true(heard.every(({ done }, i) => done >= (heard[i - 1]?.done ?? 0) && done <= 220_000))
  })
})

async function onceAsLarge(file: string, nbytes: number): Promise<void> {
  while ((await stat(file)).size < nbytes) await sleep(5)
}

test('an abort in the middle leaves what came, and the next call asks for the rest alone', async (t) => {
  await withServer(async (place) => {
    const { server, pull, listed } = place
    const stop = new AbortController()
    const reason = new Error('enough')
    const hang: Fault = (request, response, bytes) => {
      const { first, end } = rangeOf(request, bytes)
      response
        .writeHead(206, { 'content-length': end - first, 'content-range': `bytes ${first}-${end - 1}/${bytes.length}` })
        .write(bytes.subarray(first, first + 1000))
      void onceAsLarge(path.join(place.folder, `${blobOf(language)}.llava-incomplete`), first + 1000).then(() => {
        stop.abort(reason)
      })
      return true
    }
    server.storeFaults = [(...args) => (sendRange(...args), true), ...always(hang)]
    t.is(await t.throwsAsync(pull({}, { connections: 1 }, stop.signal)), reason)
    t.deepEqual(await listed(), [`${blobOf(language)}.llava-incomplete`])
    await assertNoModel(t, place)
    const before = server.ranges.length
    server.storeFaults = []
    t.true(await isWhole(await pull({}, { connections: 1 })))
    t.is(server.ranges[before], `bytes=${partBytes + 1000}-${2 * partBytes - 1}`)
  })
})

test('two pulls at once download a file once, and both have it', async (t) => {
  await withServer(async ({ server, pull }) => {
    const heard: PullProgress[] = []
    let waits: () => void = () => undefined
    const oneWaits = new Promise<void>((resolve) => {
      waits = resolve
    })
    const onProgress = (progress: PullProgress) => {
      heard.push(progress)
      if (progress.stage === 'wait') waits()
    }
    const untilOneWaits: Fault = (...request) => {
      void oneWaits.then(() => {
        sendRange(...request)
      })
      return true
    }
    server.storeFaults = [untilOneWaits]
    for (const result of await Promise.all([pull({ onProgress }), pull({ onProgress })])) t.true(await isWhole(result))
    t.is(new Set(server.ranges).size, server.ranges.length - 1) // bytes=0-16383 is both files'
    t.true(heard.some(({ stage }) => stage === 'wait'))
  })
})

test('whatever becomes of what was kept, the result is whole, or an error and then whole', async (t) => {
  await withServer(async ({ server, pull, folder }) => {
    const incomplete = path.join(folder, `${blobOf(language)}.llava-incomplete`)
    await mkdir(path.dirname(incomplete), { recursive: true })
    server.storeFaults = [(...args) => (sendRange(...args), true), dropAfter(777), ...always(dropAfter(0))]
    await t.throwsAsync(pull({}, { connections: 1 }))
    const kept = await readFile(incomplete)
    server.storeFaults = []
    const damage = fc.record({ at: fc.nat(kept.length - 1), byte: fc.nat(255), length: fc.option(fc.nat(kept.length)) })
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, byte, length }) => {
        await rm(path.join(folder, 'models--owner--tiny-GGUF'), { recursive: true })
        await mkdir(path.dirname(incomplete), { recursive: true })
        const damaged = Buffer.from(kept.subarray(0, length ?? kept.length))
        if (at < damaged.length) damaged[at] = byte
        await writeFile(incomplete, damaged)
        const first = await pull().catch((error: unknown) => error as LlavaError)
        if (first instanceof LlavaError) t.is(first.code, 'MODEL_CORRUPT' satisfies LlavaErrorCode)
        t.true(await isWhole(first instanceof LlavaError ? await pull() : first))
      }),
      { numRuns: 40 },
    )
  })
})

test('parts of another size than today’s are gone on with', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.storeFaults = [(...args) => (sendRange(...args), true), ...always(dropAfter(0))]
    await t.throwsAsync(pull({}, { connections: 1, partBytes: 50_000 }))
    const before = server.ranges.length
    server.storeFaults = []
    t.true(await isWhole(await pull({}, { connections: 1 })))
    t.is(server.ranges[before], 'bytes=50000-99999')
  })
})

test('a blob of the right name and the wrong length is downloaded again', async (t) => {
  await withServer(async ({ pull, folder }) => {
    const { model } = await pull()
    const handle = await open(path.join(folder, blobOf(language)), 'r+')
    await handle.truncate(10)
    await handle.close()
    t.true(await isWhole(await pull()))
    t.is((await stat(model)).size, language.length)
  })
})

test('a type or a file singles out what is pulled', async (t) => {
  await withServer(async ({ pull, folder }) => {
    const byType = await pull({ type: 'q8_0' })
    t.regex(byType.model, /tiny-Q8_0\.gguf$/)
    t.is((await findPulled(name, folder)).model, byType.model) // the only one that is here
    const byFile = await pull({ file: 'tiny-Q4_K_M.gguf' })
    t.is((await findPulled(name, folder)).model, byFile.model)
    t.is((await findPulled({ ...name, file: 'tiny-Q8_0.gguf' }, folder)).model, byType.model)
    await t.throwsAsync(pull({ type: 'q2_k' }), {
      code: 'MODEL_NOT_FOUND',
      message: /no file of type q2_k is there, but tiny-Q4_K_M.gguf, tiny-Q8_0.gguf/,
    })
    await t.throwsAsync(pull({ file: 'none.gguf' }), {
      code: 'MODEL_NOT_FOUND',
      message: /none.gguf is not there, but/,
    })
  })
})

test('a card without a license has none here', async (t) => {
  await withServer(async ({ server, pull }) => {
    server.card = { license: ['a', 'b'] }
    t.false('license' in (await pull()))
    server.card = { license: 'other', license_name: 'its-own' }
    t.is((await pull()).license, 'its-own')
  })
})

test('what huggingface_hub has downloaded is found by its name', async (t) => {
  await withServer(async ({ folder, cached }) => {
    const snapshot = path.join(cached, 'snapshots', commit)
    const files = [
      ['README.md', 'a card'],
      ['q4/tiny-Q4_0.gguf', 'a model'],
      ['tiny-Q8_0.gguf', 'another'],
      ['mmproj-tiny-f16.gguf', 'a tower'],
      ['mmproj-tiny-Q8_0.gguf', 'its like'],
    ] as const
    for (const [file, text] of files) {
      const [blob, place] = [path.join(cached, 'blobs', sha256(Buffer.from(text))), path.join(snapshot, file)]
      for (const each of [blob, place, path.join(cached, 'refs', 'main')])
        await mkdir(path.dirname(each), { recursive: true })
      await writeFile(blob, text)
      await symlink(path.relative(path.dirname(place), blob), place)
    }
    await symlink('../../blobs/gone', path.join(snapshot, 'tiny-Q4_K_M.gguf'))
    await writeFile(path.join(cached, 'refs', 'main'), `${commit}\n`)
    t.deepEqual(await findPulled(name, folder), {
      model: path.join(snapshot, 'q4/tiny-Q4_0.gguf'),
      mmproj: path.join(snapshot, 'mmproj-tiny-f16.gguf'),
    })
  })
})
