// The conformance cases of linear.

import { testCases } from './cases.js'

testCases('products')
