// Observable Plot on a document without a browser.

import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** The `<svg>` of a plot. */
export interface PlotSvg {
  setAttribute(name: string, value: string): void
  readonly outerHTML: string
}

export function plotSvg(options: Plot.PlotOptions): PlotSvg {
  const { document } = parseHTML('<html><body></body></html>') as unknown as { readonly document: unknown } // the browser's types are not here
  const svg = (Plot.plot as (options: object) => unknown)({ ...options, document }) as PlotSvg
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return svg
}
