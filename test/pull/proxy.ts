// A forward proxy on this machine: tunnels by CONNECT, and plain requests by absolute addresses.

import http from 'node:http'
import net, { type AddressInfo } from 'node:net'

export class Proxy {
  /** What it was asked to reach. */
  readonly reached: string[] = []
  readonly #server = http.createServer((request, response) => {
    this.reached.push(new URL(request.url ?? '').host)
    const onward = http.request(request.url ?? '', { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    request.pipe(onward)
  })

  static async start(): Promise<Proxy> {
    const proxy = new Proxy()
    proxy.#server.on('connect', (request, client) => {
      proxy.reached.push(request.url ?? '')
      const { hostname, port } = new URL(`http://${request.url ?? ''}`)
      const target = net.connect(Number(port), hostname, () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n')
        target.pipe(client).pipe(target)
      })
      for (const [one, other] of [
        [client, target],
        [target, client],
      ] as const)
        one.on('error', () => other.destroy())
    })
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  [Symbol.dispose](): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
