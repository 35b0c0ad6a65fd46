// JSON.parse in slices, for vocabularies of megabytes: the text is cut at the commas of its large arrays and objects into segments that
// JSON.parse takes one by one, so that what is valid and what a value is are still its to say.
// A generator: it yields where it may pause.

/** Characters of a segment, unless one member is longer: some tenths of a millisecond. */
const longSegment = 2 ** 14
const tokensPerStep = 2048

/** tokenizer.json nests 6 deep. What is deeper would take many times its size to parse, and recursion over it could run out of stack. */
const deepest = 64

/** Whole strings, whose commas and brackets are none, and what structures the text. */
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/gs

type Container = unknown[] | Record<string, unknown>

/** An array or object that is open. */
interface Frame {
  readonly isArray: boolean
  readonly start: number
  /** Where the text begins that is not parsed yet; behind a member parsed by itself, undefined up to the next comma. */
  from: number | undefined
  /** Where its last member begins; of one parsed by itself, where it ends. */
  member: number
  /** What is parsed; undefined while all of it fits into a segment of the frame around it. */
  value: Container | undefined
}

/** @throws SyntaxError, or RangeError for values nested more than `deepest` deep */
export function* parseJsonInSlices(text: string, segment = longSegment): Generator<undefined, unknown> {
  const open: Frame[] = []
  let seen = 0
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if (seen++ % tokensPerStep === 0) yield
    const frame = open.at(-1)
    if (token === '{' || token === '[') {
      if (frame !== undefined && frame.from === undefined) throw unexpected(token, index) // right behind a member parsed by itself
      open.push({ isArray: token === '[', start: index, from: index + 1, member: index + 1, value: undefined })
      if (open.length > deepest) throw new RangeError(`nests its values more than ${deepest} deep`)
    } else if (frame === undefined || token.startsWith('"')) continue
    else if (token === ',') endMember(frame, text, index, segment)
    else if (frame.isArray !== (token === ']')) throw unexpected(token, index)
    else {
      open.pop()
      if (frame.value === undefined) continue
      endMember(frame, text, index, 0)
      const around = open.at(-1)
      if (around !== undefined) adopt(around, text, frame, index + 1)
      else {
        checkBlank(text, 0, frame.start)
        checkBlank(text, index + 1, text.length)
        return frame.value
      }
    }
  }
  return JSON.parse(text) as unknown
}

function unexpected(token: string, index: number): SyntaxError {
  return new SyntaxError(`Unexpected token ${token} in JSON at position ${index}`)
}

/** At a comma or the closing bracket: parses what has come together, if it is more than `segment`. */
function endMember(frame: Frame, text: string, at: number, segment: number): void {
  if (frame.from === undefined) {
    checkBlank(text, frame.member, at)
    frame.from = at + 1
  } else if (at - frame.from >= segment) {
    add(frame, text.slice(frame.from, at))
    frame.from = at + 1
  }
  frame.member = at + 1
}

/** Whole members, one or more. */
function add(frame: Frame, members: string): void {
  if (members.trim() === '') throw new SyntaxError('Unexpected comma in JSON')
  if (frame.isArray)
    for (const value of JSON.parse(`[${members}]`) as unknown[]) (valueOf(frame) as unknown[]).push(value)
  else Object.assign(valueOf(frame), JSON.parse(`{${members}}`) as object)
}

/** A member that was parsed by itself: what stands before it in its frame comes first. */
function adopt(frame: Frame, text: string, { start, value }: Frame, end: number): void {
  if (frame.from !== undefined && frame.from < frame.member) add(frame, text.slice(frame.from, frame.member - 1))
  if (frame.isArray) {
    checkBlank(text, frame.member, start)
    ;(valueOf(frame) as unknown[]).push(value)
  } else {
    const [key] = Object.keys(JSON.parse(`{${text.slice(frame.member, start)}0}`) as object)
    ;(valueOf(frame) as Record<string, unknown>)[key as string] = value
  }
  frame.from = undefined
  frame.member = end
}

function valueOf(frame: Frame): Container {
  // without a prototype, `__proto__` is a key like others
  return (frame.value ??= frame.isArray ? [] : (Object.create(null) as Record<string, unknown>))
}

function checkBlank(text: string, from: number, to: number): void {
  const found = text.slice(from, to).trim()
  if (found !== '') throw new SyntaxError(`Unexpected ${JSON.stringify(found.slice(0, 20))} in JSON`)
}
