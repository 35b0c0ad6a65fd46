// The conformance cases of attention.

import { testCases } from './cases.js'

testCases('attention')
