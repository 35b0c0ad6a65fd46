// What writing.ts takes from the library. Its own declarations import without extensions, which `moduleResolution: nodenext` does not follow.

declare module '@huggingface/tokenizers' {
  export class SplitPreTokenizer {
    constructor(config: {
      readonly type: 'Split'
      readonly pattern: { readonly Regex: string }
      readonly behavior: 'Isolated' | 'Removed'
      readonly invert: boolean
    })
    pre_tokenize_text(text: string): string[]
  }
}
