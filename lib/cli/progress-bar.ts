// A bar for work that takes minutes: on a terminal only, on stderr, gone when the work is done.

import { Presets, SingleBar } from 'cli-progress'

export class ProgressBar implements Disposable {
  readonly #bar: SingleBar | undefined

  /** @param what Stands in front of the bar. */
  constructor(what: string) {
    if (!process.stderr.isTTY) return
    const format = `${what} {bar} {percentage} %  {mib} of {totalMib} MiB  {eta_formatted} left  {item}`
    this.#bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true, hideCursor: true, gracefulExit: false, barsize: 24 }, Presets.shades_classic)
    this.#bar.start(1, 0, { mib: 0, totalMib: 0, item: '' })
  }

  /** @param item What is being worked on. */
  update(item: string, done: number, total: number): void {
    const mib = (nbytes: number): number => Math.round(nbytes / 2 ** 20)
    this.#bar?.setTotal(total)
    this.#bar?.update(done, { mib: mib(done), totalMib: mib(total), item })
  }

  [Symbol.dispose](): void {
    this.#bar?.stop()
  }
}
