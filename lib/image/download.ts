// A picture by http or https, for addresses that people who are not trusted may have written.
// Unless private networks are allowed, only addresses of the public internet are connected to. A name is looked up once
// per connection and the address that was checked is the one connected to, so that a name that answers otherwise the
// second time (DNS rebinding) gains nothing; every redirect is checked anew. Connections are kept for the next request,
// those of calls that allow private networks by themselves: a connection is not looked up again. The proxies of the
// environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) are used. They look names up themselves, so names are checked here
// before.

import dns from 'node:dns'
import net from 'node:net'
import { promisify } from 'node:util'
import type { Dispatcher } from 'undici'
import { collectBytes, tooManyBytes, withinTime, type ReadLimits } from './byte-stream.js'

export interface DownloadLimits extends ReadLimits {
  readonly allowPrivateNetwork: boolean
}

const maxRedirects = 5
const redirects: readonly number[] = [301, 302, 303, 307, 308]

/** The bytes at an http or https URL, after redirects. Fails with an Error in words, or with IMAGE_TOO_LARGE. */
export async function download(
  url: URL,
  limits: DownloadLimits,
  network: Network = limits.allowPrivateNetwork ? anyNetwork : publicNetwork,
): Promise<Buffer> {
  return withinTime(limits, async (signal) => {
    for (let hops = 0, at = url; hops <= maxRedirects; hops++) {
      const { statusCode, headers, body } = await network.request(at, signal)
      try {
        const { location } = headers
        if (redirects.includes(statusCode) && typeof location === 'string') {
          at = new URL(location, at)
          await body.dump() // a connection is kept once its answer is read
        } else if (statusCode !== 200) throw new Error(`the server answered with status ${statusCode}`)
        else if (Number(headers['content-length']) > limits.maxBytes) throw tooManyBytes(nameOf(url), limits.maxBytes)
        else return await collectBytes(body, limits.maxBytes, nameOf(url), signal)
      } finally {
        body.on('error', () => undefined).destroy()
      }
    }
    throw new Error(`it is redirected more than ${maxRedirects} times`)
  })
}

/** The address without what may be secret in it: the password and the query. */
export function nameOf({ origin, pathname }: URL): string {
  return origin + pathname
}

const headers = { accept: 'image/*', 'accept-encoding': 'identity', 'user-agent': 'llava-native' }

/** Where requests may go, and the connections that are kept. */
export class Network {
  readonly #publicOnly: boolean
  readonly #lookup: net.LookupFunction
  #dispatcher: Promise<Dispatcher> | undefined

  /** @param resolve looks names up */
  constructor(publicOnly: boolean, resolve: net.LookupFunction = dns.lookup) {
    this.#publicOnly = publicOnly
    this.#lookup = publicOnly ? onlyPublic(resolve) : resolve
  }

  async request(url: URL, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error(`it leads to a ${url.protocol} address`)
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    if (this.#publicOnly) await this.#check(host)
    const { request } = await import('undici')
    return request(url, { dispatcher: await (this.#dispatcher ??= this.#open()), headers, signal })
  }

  /** Addresses are connected to without a lookup, and names without one of ours where a proxy is used. */
  async #check(host: string): Promise<void> {
    if (net.isIP(host) !== 0) checkPublic(host, host)
    else if (proxies.some((name) => process.env[name])) await promisify(this.#lookup)(host, { all: true })
  }

  async #open(): Promise<Dispatcher> {
    const { EnvHttpProxyAgent } = await import('undici')
    return new EnvHttpProxyAgent({ connect: { lookup: this.#lookup } })
  }
}

const proxies = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY']

const anyNetwork = new Network(false)
const publicNetwork = new Network(true)

/** A lookup whose answer holds public addresses only. */
function onlyPublic(resolve: net.LookupFunction): net.LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      const addresses = found as readonly dns.LookupAddress[]
      try {
        if (error === null) for (const { address } of addresses) checkPublic(address, hostname)
      } catch (refusal) {
        callback(refusal as Error, '')
        return
      }
      const [first] = addresses ?? []
      if (error !== null || first === undefined || options.all === true) callback(error, found)
      else callback(null, first.address, first.family)
    })
  }
}

function checkPublic(address: string, host: string): void {
  if (isPublic(address)) return
  throw new Error(
    `${host} is no address of the public internet (${address}); set \`allowPrivateNetwork\` if it is to be read all the same`,
  )
}

/** Whether an address is one of the public internet, by IANA's registries of special-purpose addresses. */
export function isPublic(address: string): boolean {
  return net.isIP(address) === 4
    ? !specialV4.check(address, 'ipv4')
    : globalV6.check(address, 'ipv6') && !specialV6.check(address, 'ipv6')
}

function subnets(family: 'ipv4' | 'ipv6', ...prefixes: readonly (readonly [string, number])[]): net.BlockList {
  const list = new net.BlockList()
  for (const [network, bits] of prefixes) list.addSubnet(network, bits, family)
  return list
}

const specialV4 = subnets(
  'ipv4',
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // shared, behind carriers
  ['127.0.0.0', 8], // loopback
  ['169.254.0.0', 16], // link-local, where clouds answer about themselves
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocol assignments
  ['192.0.2.0', 24], // documentation
  ['192.88.99.0', 24], // 6to4 relays
  ['192.168.0.0', 16], // private
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, broadcast
)

/** All else is loopback, link-local, private, multicast, or an IPv4 address in disguise. */
const globalV6 = subnets('ipv6', ['2000::', 3])

const specialV6 = subnets(
  'ipv6',
  ['2001::', 23], // protocol assignments, Teredo
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4: an IPv4 address inside
  ['3fff::', 20], // documentation
)
