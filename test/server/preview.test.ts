// What a model sees of a picture, over HTTP.

import test from 'ava'
import sharp from 'sharp'
import { demoUrl, post, running } from './running.js'

interface Preview {
  readonly size: number
  readonly aspect_ratio: string
  readonly image_url: { readonly url: string }
}

test('the preview is the square that the library makes of a picture, as a PNG', async (t) => {
  await using here = await running()
  const response = await post(`${here.url}/v1/preview`, { model: 'default', image_url: { url: demoUrl } })
  t.is(response.status, 200)
  const { size, aspect_ratio, image_url } = (await response.json()) as Preview
  const [head = '', base64 = ''] = image_url.url.split(',')
  t.is(head, 'data:image/png;base64')
  t.is(aspect_ratio, 'pad')
  const { data, info } = await sharp(Buffer.from(base64, 'base64')).raw().toBuffer({ resolveWithObject: true })
  t.deepEqual([info.width, info.height, info.channels], [size, size, 3])
  t.deepEqual(new Uint8Array(data), (await here.model.preprocessed(demoUrl)).data)
})

test('no file of this machine is shown, nor what is no picture', async (t) => {
  await using here = await running()
  for (const url of ['/etc/passwd', 'file:///etc/passwd', 'data:image/png;base64,AAAA'])
    t.is((await post(`${here.url}/v1/preview`, { model: 'default', image_url: { url } })).status, 400, url)
})

test('a model says whether it takes pictures and whether it has a CLIP', async (t) => {
  await using here = await running()
  const { data } = (await (await fetch(`${here.url}/v1/models`)).json()) as {
    readonly data: readonly { readonly capabilities: readonly string[]; readonly context_length: number }[]
  }
  t.deepEqual(data[0]?.capabilities, ['completion', 'vision', 'embedding'])
  t.is(data[0]?.context_length, here.model.info().contextLength)
})
