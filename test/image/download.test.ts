// Pictures by http from a server of our own: limits, redirects, and addresses that may not be reached.

import { readFileSync } from 'node:fs'
import http from 'node:http'
import net, { type AddressInfo, type LookupFunction } from 'node:net'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import test from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { decodeImage, type DecodeOptions } from '../../lib/image/decode.js'
import { download, isPublic, Network } from '../../lib/image/download.js'

const pictures = fileURLToPath(new URL('../../../test/fixtures/pictures/', import.meta.url))
const png = readFileSync(`${pictures}rgb.png`)
const {
  'rgb.png': [, , rgbCrc],
} = JSON.parse(readFileSync(`${pictures}pillow.json`, 'utf8')) as { 'rgb.png': readonly [number, number, number] }

let requests = 0
const server = http.createServer((request, response) => {
  requests++
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://server')
  const hops = Number(searchParams.get('hops'))
  if (pathname === '/picture') response.end(png)
  else if (pathname === '/sized') response.writeHead(200, { 'content-length': 1e9 }).write(png)
  else if (pathname === '/cut')
    response.writeHead(200, { 'content-length': png.length }).write(png.subarray(0, 50), () => response.destroy())
  else if (pathname === '/redirect')
    response.writeHead(302, { location: hops > 1 ? `/redirect?hops=${hops - 1}` : '/picture' }).end()
  else if (pathname === '/to') response.writeHead(307, { location: searchParams.get('location') ?? '' }).end()
  else if (pathname === '/endless') {
    const timer = setInterval(() => response.write(Buffer.alloc(1000)), 1)
    response.on('close', () => {
      clearInterval(timer)
    })
  } else if (pathname === '/text') response.end('this is no picture')
  else if (pathname !== '/silent') response.writeHead(404).end()
})
let port = 0
const at = (place: string, host = '127.0.0.1') => `http://${host}:${port}${place}`
const allowed: DecodeOptions = { allowPrivateNetwork: true }

test.before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})

test.after.always(() => {
  server.closeAllConnections()
  server.close()
})

async function failure(place: string | URL, options: DecodeOptions = allowed): Promise<LlavaError> {
  try {
    await decodeImage(place, options)
  } catch (error) {
    if (error instanceof LlavaError) return error
    throw error
  }
  throw new Error('the picture was decoded')
}

test('a picture on the web is read, as text or URL, also after five redirects', async (t) => {
  for (const place of [
    at('/picture'),
    new URL(at('/picture')),
    at('/picture').replace('http:', 'HTTP:'),
    at('/redirect?hops=5'),
    at('/picture', 'localhost'),
  ]) {
    t.is(crc32((await decodeImage(place, allowed)).data), rgbCrc)
  }
})

for (const [what, place, words] of [
  ['a sixth redirect', '/redirect?hops=6', /redirected more than 5 times/],
  ['a redirect to a file', '/to?location=file:///etc/passwd', /file:/],
  ['a redirect to nowhere', '/to?location=http://', /Invalid URL/],
  ['a page that is not there', '/none', /404/],
  ['an answer that is cut short', '/cut', /closed/],
  ['an answer that is no picture', '/text', /unsupported/],
] as const) {
  test(`${what} is IMAGE_UNREADABLE`, async (t) => {
    const error = await failure(at(place))
    t.is(error.code, 'IMAGE_UNREADABLE')
    t.regex(error.message, words)
    t.true(error.cause instanceof Error)
  })
}

test('a server that cannot be reached is IMAGE_UNREADABLE', async (t) => {
  const closed = await new Promise<number>((resolve) => {
    const short = http.createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = short.address() as AddressInfo
      short.close(() => {
        resolve(free)
      })
    })
  })
  t.is((await failure(`http://127.0.0.1:${closed}/a.png`)).code, 'IMAGE_UNREADABLE')
})

test('a download over the limit is refused, whether its length is stated or not', async (t) => {
  for (const place of ['/sized', '/endless']) {
    const error = await failure(at(place), { ...allowed, maxBytes: 10_000 })
    t.is(error.code, 'IMAGE_TOO_LARGE')
    t.regex(error.message, /maxBytes/)
  }
  t.is((await decodeImage(at('/picture'), { ...allowed, maxBytes: png.length })).data.length % 3, 0)
})

test('a download that takes too long is given up, while it is silent and while it goes on', async (t) => {
  for (const place of ['/silent', '/endless']) {
    const error = await failure(at(place), { ...allowed, timeoutMs: 30 })
    t.is(error.code, 'IMAGE_UNREADABLE')
    t.regex(error.message, /30 ms that `timeoutMs` allows/)
  }
})

test('a signal stops a download', async (t) => {
  const controller = new AbortController()
  setTimeout(() => {
    controller.abort(new Error('left'))
  }, 10)
  t.regex((await failure(at('/silent'), { ...allowed, signal: controller.signal })).message, /left/)
})

test('an error does not show what may be secret in the address', async (t) => {
  const { message } = await failure(`http://user:secret@127.0.0.1:${port}/none?key=secret`)
  t.false(message.includes('secret'))
  t.true(message.includes(`http://127.0.0.1:${port}/none`))
})

for (const host of [
  '127.0.0.1',
  'localhost',
  '127.1',
  '2130706433',
  '0x7f000001',
  '0.0.0.0',
  '[::1]',
  '[::ffff:127.0.0.1]',
  '169.254.169.254',
  '10.1.2.3',
  '[fd00::1]',
]) {
  test.serial(`without being allowed, nothing is read from ${host}`, async (t) => {
    const before = requests
    const error = await failure(at('/picture', host), {})
    t.is(error.code, 'IMAGE_UNREADABLE')
    t.regex(error.message, /allowPrivateNetwork/)
    t.is(requests, before)
  })
}

/** A resolver for a made-up name: the answers in turn. */
function resolver(...answers: readonly (readonly string[])[]): { readonly lookup: LookupFunction; calls: number } {
  const made = {
    calls: 0,
    lookup: ((_name, { all }, callback) => {
      const addresses = (answers[made.calls++] ?? []).map((address) => ({ address, family: 4 }))
      if (all === true) callback(null, addresses)
      else callback(null, addresses[0]?.address ?? '', 4)
    }) satisfies LookupFunction,
  }
  return made
}

const limits = { maxBytes: 1e6, timeoutMs: 5000 }

test.serial(
  'a name that leads to a private address is refused, also when only one of its addresses does, and also after a redirect',
  async (t) => {
    const before = requests
    for (const answer of [['127.0.0.1'], ['93.184.216.34', '127.0.0.1']]) {
      const { lookup } = resolver(answer)
      await t.throwsAsync(
        download(
          new URL(at('/picture', 'rebound.test')),
          { ...limits, allowPrivateNetwork: false },
          new Network(true, lookup),
        ),
        { message: /allowPrivateNetwork/ },
      )
    }
    t.is(requests, before)
  },
)

test.serial(
  'a name is looked up once for each connection, and a connection is kept for the next request',
  async (t) => {
    const names = resolver(...Array.from({ length: 40 }, () => ['127.0.0.1']))
    const network = new Network(false, names.lookup)
    let connections = 0
    const count = () => connections++
    server.on('connection', count)
    const place = new URL(at('/redirect?hops=1', 'here.test'))
    for (let times = 0; times < 20; times++)
      t.deepEqual(await download(place, { ...limits, allowPrivateNetwork: true }, network), png)
    server.off('connection', count)
    t.is(names.calls, connections)
    t.true(connections < 20) // for forty requests: one that follows at once may find the last connection not left yet
  },
)

test.serial('through a proxy, names that lead to private addresses are refused before it hears of them', async (t) => {
  const asked: string[] = []
  const proxy = http.createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(png)
  })
  proxy.on('connect', ({ url = '' }, socket) => {
    asked.push(url)
    const through = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      through.pipe(socket).pipe(through)
    })
    socket.on('error', () => through.destroy())
    through.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  process.env.http_proxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  try {
    const place = new URL(at('/picture', 'here.test'))
    const inside = new Network(true, resolver(['10.1.2.3']).lookup)
    await t.throwsAsync(download(place, { ...limits, allowPrivateNetwork: false }, inside), {
      message: /allowPrivateNetwork/,
    })
    t.deepEqual(asked, [])
    const outside = new Network(true, resolver(['93.184.216.34']).lookup)
    t.deepEqual(await download(place, { ...limits, allowPrivateNetwork: false }, outside), png)
    t.is(asked.length, 1)
  } finally {
    delete process.env.http_proxy
    proxy.closeAllConnections()
    proxy.close()
  }
})

test.serial('a connection that was allowed is not used again by a call that is not', async (t) => {
  await decodeImage(at('/picture', 'localhost'), allowed)
  t.regex((await failure(at('/picture', 'localhost'), {})).message, /allowPrivateNetwork/)
})

test('addresses of the public internet are told from all others', (t) => {
  for (const address of [
    '8.8.8.8',
    '93.184.216.34',
    '172.15.255.255',
    '172.32.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '2606:4700::1111',
    '2a00:1450:4001::5',
  ])
    t.true(isPublic(address), address)
  for (const address of [
    '0.0.0.0',
    '10.255.255.255',
    '100.64.0.1',
    '127.255.0.1',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.2.1',
    '192.168.1.1',
    '198.18.0.1',
    '198.51.100.7',
    '203.0.113.9',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:8.8.8.8',
    '::ffff:127.0.0.1',
    '64:ff9b::7f00:1',
    'fc00::1',
    'fd12::1',
    'fe80::1',
    'ff02::1',
    '2001::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '3fff::1',
  ])
    t.false(isPublic(address), address)
})
