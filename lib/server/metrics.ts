// Counters, gauges and histograms in Prometheus' text format (version 0.0.4). prom-client, which does the same, would
// add 5 MB to the package.

const secondsBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300] as const

type Labels = Readonly<Record<string, string | number>>

interface Histogram {
  /** Observations of at most each bound, not those of a lower one too. */
  readonly counts: number[]
  sum: number
  count: number
}

/** A value that is read when somebody asks. */
export interface Gauge {
  readonly name: string
  readonly help: string
  readonly type?: 'counter' | 'gauge'
  readonly values: () => readonly (readonly [labels: Labels, value: number])[]
}

export class Metrics {
  readonly #help: ReadonlyMap<string, string>
  readonly #counters = new Map<string, Map<string, number>>()
  readonly #histograms = new Map<string, Map<string, Histogram>>()

  /** @param help what each counter and histogram is, by name */
  constructor(help: Readonly<Record<string, string>>) {
    this.#help = new Map(Object.entries(help))
  }

  count(name: string, labels: Labels, amount = 1): void {
    const values = entry(this.#counters, name, () => new Map<string, number>())
    const key = labelText(labels)
    values.set(key, (values.get(key) ?? 0) + amount)
  }

  /** An observation in seconds. */
  observe(name: string, labels: Labels, seconds: number): void {
    const values = entry(this.#histograms, name, () => new Map<string, Histogram>())
    const histogram = entry(values, labelText(labels), () => ({
      counts: Array<number>(secondsBounds.length).fill(0),
      sum: 0,
      count: 0,
    }))
    const bound = secondsBounds.findIndex((one) => seconds <= one)
    if (bound >= 0) histogram.counts[bound] = (histogram.counts[bound] as number) + 1
    histogram.sum += seconds
    histogram.count++
  }

  text(gauges: readonly Gauge[]): string {
    const lines: string[] = []
    const head = (name: string, type: string, help = this.#help.get(name) ?? '') => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    }
    for (const [name, values] of this.#counters) {
      head(name, 'counter')
      for (const [labels, value] of values) lines.push(`${name}${braced(labels)} ${value}`)
    }
    for (const [name, values] of this.#histograms) {
      head(name, 'histogram')
      for (const [labels, histogram] of values) lines.push(...histogramLines(name, labels, histogram))
    }
    for (const { name, help, type = 'gauge', values } of gauges) {
      head(name, type, help)
      for (const [labels, value] of values()) lines.push(`${name}${braced(labelText(labels))} ${value}`)
    }
    return `${lines.join('\n')}\n`
  }
}

function histogramLines(name: string, labels: string, { counts, sum, count }: Histogram): string[] {
  let cumulated = 0
  const separator = labels === '' ? '' : ','
  const buckets = secondsBounds.map((bound, n) => {
    cumulated += counts[n] as number
    return `${name}_bucket{${labels}${separator}le="${bound}"} ${cumulated}`
  })
  return [
    ...buckets,
    `${name}_bucket{${labels}${separator}le="+Inf"} ${count}`,
    `${name}_sum${braced(labels)} ${sum}`,
    `${name}_count${braced(labels)} ${count}`,
  ]
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(
      ([name, value]) =>
        `${name}="${String(value).replaceAll(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`))}"`,
    )
    .join(',')
}

function braced(labels: string): string {
  return labels === '' ? '' : `{${labels}}`
}
