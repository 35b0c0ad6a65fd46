// A bar for work that takes minutes: on a terminal only, on stderr, gone when the work is done.

import { Presets, SingleBar } from 'cli-progress'

export class ProgressBar implements Disposable {
  readonly #bar: SingleBar | undefined

  /** @param what Stands in front of the bar. */
  constructor(what: string) {
    if (!process.stderr.isTTY) return
    const format = `${what} {bar} {percentage} %  {mib} of {totalMib} MiB  {eta_formatted} left  {item}`
    this.#bar = new SingleBar(
      { format, stream: process.stderr, clearOnComplete: true, hideCursor: true, gracefulExit: false, barsize: 24 },
      Presets.shades_classic,
    )
  }

  /** @param item What is being worked on. */
  update(item: string, done: number, total: number): void {
    const mib = (nbytes: number): number => Math.round(nbytes / 2 ** 20)
    const words = { mib: mib(done), totalMib: mib(total), item }
    if (this.#bar?.isActive === true) this.#bar.update(done, words)
    else this.#bar?.start(total, done, words) // what was there at the start says nothing of the speed
  }

  [Symbol.dispose](): void {
    this.#bar?.stop()
  }
}
