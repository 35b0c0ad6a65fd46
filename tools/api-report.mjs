// npm run api: docs/api.md, every public name with its declaration as tsc wrote it. With --check nothing is written:
// exit code 1 where the page is not up to date. Needs dist (npm run build:ts).

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const page = path.join(root, 'docs/api.md')

/** The declarations of what `entry` exports, by name. */
function declarations(entry) {
  const program = ts.createProgram([entry], {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    types: [],
  })
  const checker = program.getTypeChecker()
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)))
  return exported
    .map((symbol) => [symbol.name, symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, symbol]) => symbol.declarations.map(textOf).join('\n'))
}

/** Without comments; a constant with its keyword. */
function textOf(declaration) {
  const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
  const printer = ts.createPrinter({ removeComments: true })
  return printer.printNode(ts.EmitHint.Unspecified, statement, statement.getSourceFile())
}

const report = `# Public API

What \`lib/index.ts\` exports. Written by \`npm run api\`; a change of it is a change of CHANGELOG.md.

\`\`\`typescript
${declarations(path.join(root, 'dist/lib/index.d.ts')).join('\n\n')}
\`\`\`
`

if (!process.argv.includes('--check')) writeFileSync(page, report)
else if (readFileSync(page, 'utf8') !== report) {
  console.error('docs/api.md is not what lib/index.ts exports: `npm run build:ts && npm run api` writes it anew.')
  process.exitCode = 1
}
