/** The kinds of work that failing-allocations.ts does, by the names under which failing-allocations.test.ts asks for them. */
export const kindsOfWork = [
  'a model is opened',
  'a quantised pair with an adapter is opened',
  'a picture is encoded',
  'a picture is read by several threads',
  'a text is forwarded',
  'a text is forwarded beside one that is cancelled',
  'a context is forked, goes on and is cut',
  'a question is answered several times',
  'a conversation is saved and restored',
  'vectors are made',
  'vectors are made with CLIP',
  'a model is converted',
  'a model is checked',
  'a model says what it is',
  'calls are made and not awaited',
] as const

export type KindOfWork = (typeof kindsOfWork)[number]
