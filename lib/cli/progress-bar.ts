// A bar for work that takes minutes: on a terminal only, on stderr, gone when the work is done.

import { Presets, SingleBar } from 'cli-progress'

/** What is counted, in words of the bar. */
const amounts = {
  bytes: '{mib} of {totalMib} MiB',
  inputs: '{value} of {total}  {rate}/s',
} as const

export class ProgressBar implements Disposable {
  readonly #bar: SingleBar | undefined
  #first = { at: 0, done: 0 }

  /** @param what Stands in front of the bar. */
  constructor(what: string, amount: keyof typeof amounts = 'bytes') {
    if (!process.stderr.isTTY) return
    const format = `${what} {bar} {percentage} %  ${amounts[amount]}  {eta_formatted} left  {item}`
    this.#bar = new SingleBar(
      { format, stream: process.stderr, clearOnComplete: true, hideCursor: true, gracefulExit: false, barsize: 24 },
      Presets.shades_classic,
    )
  }

  /** @param item What is being worked on. */
  update(item: string, done: number, total: number): void {
    if (this.#bar?.isActive !== true) this.#first = { at: performance.now(), done }
    const mib = (nbytes: number): number => Math.round(nbytes / 2 ** 20)
    const words = { mib: mib(done), totalMib: mib(total), rate: this.#rate(done), item }
    if (this.#bar?.isActive === true) this.#bar.update(done, words)
    else this.#bar?.start(total, done, words) // what was there at the start says nothing of the speed
  }

  /** How many a second since the first update. */
  #rate(done: number): string {
    const seconds = (performance.now() - this.#first.at) / 1000
    return seconds < 0.1 ? '–' : ((done - this.#first.done) / seconds).toFixed(1)
  }

  [Symbol.dispose](): void {
    this.#bar?.stop()
  }
}
