// An application of Next.js: the package is a server external, and a standalone build, which holds what was traced, has
// its models and binaries.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import test from 'ava'
import { expected, root, run, tarball, Workplace } from './project.js'

const workplace = await Workplace.make()
const folder = await workplace.project('next', {
  'next.config.mjs': `export default {
  output: 'standalone',
  serverExternalPackages: ['llava-native'],
  outputFileTracingIncludes: { '/ask': ['./node_modules/llava-native/{models,prebuilds}/**'] },
}
`,
  'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>\n',
  'app/ask/route.js': `import { LLaVA } from 'llava-native'
export const dynamic = 'force-dynamic'
export async function GET() {
  const llava = await LLaVA.open(undefined, { threads: 1 })
  const { text } = await llava.ask(process.env.PICTURE, 'What is in this picture?')
  llava.dispose()
  return new Response(text)
}
`,
})
const packages = ['next@16', 'react@19', 'react-dom@19']
const installation = await workplace.npm(folder, 'install', '--ignore-scripts', tarball, ...packages)

test.after.always(() => workplace.remove())

/** Next.js takes 0 for its default. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

const testIf = installation.code === 0 ? test : test.skip

testIf('Next.js: a route of a standalone build answers', async (t) => {
  const env = { ...workplace.env, NEXT_TELEMETRY_DISABLED: '1' }
  const { code, all } = await run(process.execPath, ['node_modules/next/dist/bin/next', 'build'], { cwd: folder, env })
  t.is(code, 0, all)

  const address = { HOSTNAME: '127.0.0.1', PORT: String(await freePort()) }
  const server = spawn(process.execPath, ['server.js'], {
    cwd: path.join(folder, '.next/standalone'),
    env: { ...env, ...address, PICTURE: path.join(root, 'models/demo.png') },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    for await (const line of createInterface(server.stdout)) if (line.includes('Ready')) break
    const response = await fetch(`http://${address.HOSTNAME}:${address.PORT}/ask`)
    t.is(await response.text(), expected)
  } finally {
    server.kill()
  }
})
