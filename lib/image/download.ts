// A picture by http or https, for addresses that people who are not trusted may have written.
// Unless private networks are allowed, only addresses of the public internet are connected to. A name is looked up once per connection and the address
// that was checked is the one connected to, so that a name that answers otherwise the second time (DNS rebinding) gains nothing; every redirect is
// checked anew. Each request has a connection of its own: one kept from a call that allowed private networks would never be looked up again.

import dns from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { collectBytes, tooManyBytes, withinTime, type ReadLimits } from './byte-stream.js'

export interface DownloadLimits extends ReadLimits {
  readonly allowPrivateNetwork: boolean
}

const maxRedirects = 5
const redirects: readonly (number | undefined)[] = [301, 302, 303, 307, 308]

/** The bytes at an http or https URL, after redirects. Fails with an Error in words, or with IMAGE_TOO_LARGE; `resolve` looks names up. */
export async function download(url: URL, limits: DownloadLimits, resolve: Resolve = dns.lookup): Promise<Buffer> {
  return withinTime(limits, async (signal) => {
    for (let hops = 0, at = url; hops <= maxRedirects; hops++) {
      const response = await request(at, limits.allowPrivateNetwork, resolve, signal)
      try {
        const { statusCode, headers } = response
        if (redirects.includes(statusCode) && headers.location !== undefined) at = new URL(headers.location, at)
        else if (statusCode !== 200) throw new Error(`the server answered with status ${statusCode}`)
        else if (Number(headers['content-length']) > limits.maxBytes) throw tooManyBytes(nameOf(url), limits.maxBytes)
        else return await collectBytes(response, limits.maxBytes, nameOf(url), signal)
      } finally {
        response.destroy()
      }
    }
    throw new Error(`it is redirected more than ${maxRedirects} times`)
  })
}

/** The address without what may be secret in it: the password and the query. */
export function nameOf({ origin, pathname }: URL): string {
  return origin + pathname
}

async function request(
  url: URL,
  allowPrivateNetwork: boolean,
  resolve: Resolve,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const scheme = schemes[url.protocol]
  if (scheme === undefined) throw new Error(`it leads to a ${url.protocol} address`)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (!allowPrivateNetwork && net.isIP(host) !== 0) checkPublic(host, host) // an address is connected to without a lookup
  const headers = { accept: 'image/*', 'accept-encoding': 'identity', 'user-agent': 'llava-native' }
  const lookup = allowPrivateNetwork ? resolve : publicOnly(resolve)
  return new Promise((settle, reject) => {
    scheme.get(url, { agent: false, headers, lookup, signal }, settle).on('error', reject)
  })
}

const schemes: Readonly<Record<string, typeof http | typeof https>> = { 'http:': http, 'https:': https }

type Resolve = net.LookupFunction

/** A lookup whose answer holds public addresses only. */
function publicOnly(resolve: Resolve): Resolve {
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
