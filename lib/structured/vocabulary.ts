// A vocabulary as the trie of its pieces' bytes, laid out in depth-first order, so that what an automaton refuses is skipped with all that begins so:
//   node n adds bytes[n] at depth[n]; the nodes below it are n + 1 … end[n] - 1; tokens that end there are ids[firstId[n]] … ids[firstId[n + 1]] - 1.

/** What it needs to know of a tokenizer. */
export interface Pieces {
  readonly count: number
  /** The bytes that an id adds to a text; none: it may not be chosen. */
  bytes(id: number): Uint8Array
}

/** Pieces, or nodes, between pauses. */
const atOnce = 512

/** No node, or no id. */
const none = -1

export class Vocabulary {
  /** One more than the largest id. */
  readonly count: number
  /** Bytes of the longest piece. */
  readonly longest: number
  /** Bytes that are pieces by themselves. */
  readonly writable: ReadonlySet<number>
  readonly bytes: Uint8Array
  readonly depth: Uint16Array
  readonly end: Int32Array
  readonly firstId: Int32Array
  readonly ids: Int32Array

  private constructor({ size, count, longest, writable }: LinkedTrie) {
    this.count = count
    this.longest = longest
    this.writable = writable
    this.bytes = new Uint8Array(size)
    this.depth = new Uint16Array(size)
    this.end = new Int32Array(size)
    this.firstId = new Int32Array(size + 1)
    this.ids = new Int32Array(count)
  }

  /** Reads all pieces; to be run in slices. */
  static *read(pieces: Pieces): Generator<undefined, Vocabulary> {
    const trie = new LinkedTrie(pieces.count)
    for (let id = 0; id < pieces.count; id++) {
      if (id % atOnce === atOnce - 1) yield
      trie.add(id, pieces.bytes(id))
    }
    const vocabulary = new Vocabulary(trie)
    yield* vocabulary.#layOut(trie)
    return vocabulary
  }

  *#layOut({ byte, below, beside, firstId, nextId, root }: LinkedTrie): Generator<undefined, void> {
    let place = 0
    let idCount = 0
    const path: number[] = [] // places of the nodes above
    const further: number[] = [] // for each, what stands beside it
    for (let node = root; node !== none || path.length > 0;) {
      if (node === none) {
        this.end[path.pop()!] = place
        node = further.pop()!
        continue
      }
      if (place % atOnce === atOnce - 1) yield
      path.push(place)
      further.push(beside[node]!)
      this.bytes[place] = byte[node]!
      this.depth[place] = path.length
      this.firstId[place] = idCount
      for (let id = firstId[node]!; id !== none; id = nextId[id]!) this.ids[idCount++] = id
      place++
      node = below[node]!
    }
    this.firstId[place] = idCount
  }
}

/** The trie while it grows: each node leads to its first child and to its next sibling, and to the ids that end there. */
class LinkedTrie {
  readonly count: number
  longest = 0
  readonly writable = new Set<number>()
  /** Nodes. */
  size = 0
  /** The first node of depth 1. */
  root = none
  byte = new Uint8Array(1024)
  below = new Int32Array(1024)
  beside = new Int32Array(1024)
  firstId = new Int32Array(1024)
  readonly nextId: Int32Array

  constructor(count: number) {
    this.count = count
    this.nextId = new Int32Array(count).fill(none)
  }

  add(id: number, piece: Uint8Array): void {
    let node = none
    for (const byte of piece) node = this.#child(node, byte)
    if (node === none) return
    this.nextId[id] = this.firstId[node]!
    this.firstId[node] = id
    this.longest = Math.max(this.longest, piece.length)
    if (piece.length === 1) this.writable.add(piece[0]!)
  }

  #child(parent: number, byte: number): number {
    const first = parent === none ? this.root : this.below[parent]!
    for (let node = first; node !== none; node = this.beside[node]!) if (this.byte[node] === byte) return node
    const made = this.size++
    if (made === this.byte.length) this.#grow()
    this.byte[made] = byte
    this.below[made] = none
    this.beside[made] = first
    this.firstId[made] = none
    if (parent === none) this.root = made
    else this.below[parent] = made
    return made
  }

  #grow(): void {
    const grown = <Numbers extends Uint8Array | Int32Array>(made: Numbers, old: Numbers): Numbers => {
      made.set(old)
      return made
    }
    const length = 2 * this.byte.length
    this.byte = grown(new Uint8Array(length), this.byte)
    this.below = grown(new Int32Array(length), this.below)
    this.beside = grown(new Int32Array(length), this.beside)
    this.firstId = grown(new Int32Array(length), this.firstId)
  }
}
