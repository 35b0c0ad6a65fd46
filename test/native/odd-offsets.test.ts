// GGUF files whose tensors lie at odd addresses, as `general.alignment` = 1 allows: they are mapped as they are, so every kernel reads its weights there.
// The sanitized suite (npm run test:sanitized) runs this under UndefinedBehaviorSanitizer, which says where a read needs more than a byte's alignment.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { convertModel, LLaVA } from '../../lib/index.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { goldenCase } from '../tiny-model.js'
import { string, u32, u64 } from '../weights/gguf-file.js'
import { difference, GoldenModel, isas } from './golden-models.js'

const headLength = 24 // magic, version, two counts

/** The file with its tensors, in the same order, each behind 1 or 2 bytes that belong to none, at an odd offset. */
async function atOddOffsets(file: string): Promise<Buffer> {
  const bytes = await readFile(file)
  const { tensors } = await readGgufHeader(file)
  const infosEnd = Math.max(...tensors.map(({ name }) => offsetPlace(bytes, name) + 8))
  const keyCount = bytes.readBigUInt64LE(16)
  const alignment = Buffer.concat([string('general.alignment'), u32(4), u32(1)])
  const header = Buffer.concat([bytes.subarray(0, 16), u64(keyCount + 1n), alignment, bytes.subarray(headLength, infosEnd)])
  const parts: Buffer[] = [header]
  let end = header.length
  for (const { name, offset, nbytes } of tensors) {
    const gap = 1 + (end % 2)
    parts.push(Buffer.alloc(gap, 0xff), bytes.subarray(offset, offset + nbytes))
    header.writeBigUInt64LE(BigInt(end + gap - header.length), offsetPlace(header, name))
    end += gap + nbytes
  }
  return Buffer.concat(parts)
}

/** By name, the bytes of every tensor of a GGUF file. */
async function readTensorBytes(file: string): Promise<Record<string, Buffer>> {
  const bytes = await readFile(file)
  const { tensors } = await readGgufHeader(file)
  return Object.fromEntries(tensors.map(({ name, offset, nbytes }) => [name, bytes.subarray(offset, offset + nbytes)]))
}

/** Where a tensor's offset stands in the header. */
function offsetPlace(bytes: Buffer, name: string): number {
  const dimensions = bytes.indexOf(string(name)) + string(name).length
  return dimensions + 4 + 8 * bytes.readUInt32LE(dimensions) + 4
}

for (const name of ['gguf-single-f16', 'gguf-pair-f32', 'gguf-pair-q4_0', 'gguf-pair-q8_0', 'gguf-kquants']) {
  test(`${name}: tensors at odd offsets give the logits that they give elsewhere, on every table`, async (t) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
    try {
      using plain = await GoldenModel.open(name)
      const odd: string[] = []
      for (const file of plain.description.files) {
        odd.push(path.join(folder, path.basename(file)))
        await writeFile(odd.at(-1)!, await atOddOffsets(file))
      }
      const [model, mmproj] = odd as [string, string?]
      const description = await describeModel(model, mmproj === undefined ? {} : { mmproj })
      t.true(description.tensors.every(({ offset }) => offset % 2 === 1))
      for (const isa of isas) {
        for (const arithmetic of ['fast', 'exact'] as const) {
          using expected = await GoldenModel.open(name, { isa, arithmetic })
          using actual = await GoldenModel.openAt(description, { isa, arithmetic })
          for (const rows of [1, 5, 150]) {
            const logits = async (golden: GoldenModel) => golden.run(rows < 150 ? [golden.tokens(rows, rows)] : await golden.prompt(1, rows))
            t.is(difference(await logits(actual), await logits(expected)), undefined, `${isa}, ${arithmetic}, ${rows} rows`)
          }
        }
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })
}

test('a model whose tensors lie at odd offsets answers, and is converted, as the same model elsewhere', async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    const { model, prompt } = goldenCase('gguf-single-f16')
    const odd = path.join(folder, 'odd.gguf')
    await writeFile(odd, await atOddOffsets(model))
    const results = []
    for (const source of [model, odd]) {
      await using open = await LLaVA.open(source, { threads: 1 })
      const answer = await open.ask({ width: 8, height: 8, data: new Uint8Array(192).fill(90) }, prompt.replace(/.*<image>\s*/, ''), { maxTokens: 8 })
      const target = path.join(folder, 'converted.gguf')
      await convertModel(source, target, { type: 'q4_0', overwrite: true })
      results.push({ text: answer.text, weights: await readTensorBytes(target) })
    }
    t.deepEqual(results[1], results[0])
  } finally {
    await rm(folder, { recursive: true })
  }
})
