#!/usr/bin/env node
// The `llava` command.

import { run } from './program.js'

process.exitCode = await run(process.argv.slice(2))
