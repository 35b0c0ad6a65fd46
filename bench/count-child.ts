// Runs one op once, under callgrind: node count-child.js ISA REQUEST

import { native, type Isa, type OpRequest } from '../lib/native.js'

const [isa, request] = process.argv.slice(2) as [Isa, string]
const bench = new (native().OpBench)({ isa, threads: 1 })
await bench.prepare(JSON.parse(request) as OpRequest)
await bench.sample(1)
bench.dispose()
