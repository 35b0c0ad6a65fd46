// Numbers between bounds, as JSON writes them without exponent: a comparison of digits from the left.
//   integer   0 | -?[1-9][0-9]*                    number   -?(0|[1-9][0-9]*)(.[0-9]+)?
// At most 15 digits, more only where a bound has more: so many are told apart by a double, and a number comes to an end.

import { ByteSet } from './byte-set.js'
import type { Language, Languages } from './language.js'

export interface Bound {
  readonly value: number
  /** The value itself is outside. */
  readonly exclusive: boolean
}

export interface Bounds {
  readonly integer: boolean
  readonly lower: Bound | undefined
  readonly upper: Bound | undefined
}

const mostDigits = 15

/** A magnitude's digits before and after the point, without zeros at their ends. */
interface Digits {
  readonly whole: string
  readonly fraction: string
}

export function numberLanguage(languages: Languages, { integer, lower, upper }: Bounds): Language {
  const forms = new Decimals(languages)
  return languages.both(
    integer ? forms.integer : forms.number,
    lower === undefined ? forms.everything : forms.above(lower),
    upper === undefined ? forms.everything : forms.below(upper),
    forms.atMostDigits(digitsNeeded(lower, upper)),
  )
}

function digitsNeeded(lower: Bound | undefined, upper: Bound | undefined): number {
  const nearest = Math.max(lower?.value ?? 0, -(upper?.value ?? 0), 0)
  return Math.max(mostDigits, digitsOf(nearest).whole.length)
}

class Decimals {
  readonly everything: Language
  readonly integer: Language
  readonly number: Language
  readonly #languages: Languages
  readonly #digit: Language
  readonly #point: Language
  readonly #minus: Language
  /** Without sign. */
  readonly #magnitude: Language
  /** 0, however long. */
  readonly #zero: Language

  constructor(languages: Languages) {
    this.#languages = languages
    this.#digit = this.#between(0, 9)
    this.#point = languages.literal('.')
    this.#minus = languages.literal('-')
    const { sequence, choice, repeat, optional } = bound(languages)
    const digits = repeat(this.#digit)
    const natural = sequence(this.#between(1, 9), digits)
    const zero = languages.literal('0')
    this.everything = languages.not(languages.none)
    this.integer = choice(zero, sequence(optional(this.#minus), natural))
    this.#magnitude = sequence(choice(zero, natural), optional(sequence(this.#point, this.#digit, digits)))
    this.#zero = sequence(zero, optional(sequence(this.#point, repeat(zero, 1))))
    this.number = sequence(optional(this.#minus), this.#magnitude)
  }

  /** Numbers above a bound. */
  above({ value, exclusive }: Bound): Language {
    const negative = this.#languages.sequence(this.#minus, this.#magnitude)
    if (value > 0) return this.#magnitudeAbove(digitsOf(value), exclusive)
    const positive = exclusive && value === 0 ? this.#nonZero() : this.#magnitude
    if (value === 0) return positive
    const tooLow = this.#languages.sequence(this.#minus, this.#magnitudeAbove(digitsOf(-value), !exclusive))
    return this.#languages.choice(positive, this.#languages.both(negative, this.#languages.not(tooLow)))
  }

  /** Numbers below a bound: those whose opposite is above the opposite bound. */
  below({ value, exclusive }: Bound): Language {
    const negative = this.#languages.sequence(this.#minus, this.#magnitude)
    if (value < 0) return this.#languages.sequence(this.#minus, this.#magnitudeAbove(digitsOf(-value), exclusive))
    if (value === 0) {
      return exclusive
        ? this.#languages.sequence(this.#minus, this.#nonZero())
        : this.#languages.choice(negative, this.#zero)
    }
    const tooHigh = this.#magnitudeAbove(digitsOf(value), !exclusive)
    return this.#languages.choice(negative, this.#languages.both(this.#magnitude, this.#languages.not(tooHigh)))
  }

  atMostDigits(count: number): Language {
    const { sequence, repeat, optional } = bound(this.#languages)
    return sequence(
      optional(this.#minus),
      this.#digit,
      repeat(sequence(optional(this.#point), this.#digit), 0, count - 1),
    )
  }

  #nonZero(): Language {
    return this.#languages.both(this.#magnitude, this.#languages.not(this.#zero))
  }

  /** Magnitudes from `least` on, or those above it. */
  #magnitudeAbove({ whole, fraction }: Digits, exclusive: boolean): Language {
    const { sequence, choice, repeat, optional } = bound(this.#languages)
    const anyFraction = optional(sequence(this.#point, repeat(this.#digit, 1)))
    // one digit more at least; against 0 every natural number is larger, and has as many digits or more
    const longer = sequence(this.#between(1, 9), repeat(this.#digit, whole === '0' ? 0 : whole.length))
    const larger = choice(longer, whole === '0' ? this.#languages.none : this.#larger(whole, 'same-length'))
    const sameWhole = sequence(this.#languages.literal(whole), this.#fractionAbove(fraction, exclusive))
    return choice(sequence(larger, anyFraction), sameWhole)
  }

  #fractionAbove(fraction: string, exclusive: boolean): Language {
    const { sequence, choice, repeat, optional } = bound(this.#languages)
    const digits = repeat(this.#digit)
    const nonZeroTail = sequence(digits, this.#between(1, 9), digits)
    if (fraction === '')
      return exclusive ? sequence(this.#point, nonZeroTail) : optional(sequence(this.#point, repeat(this.#digit, 1)))
    const same = sequence(this.#languages.literal(fraction), exclusive ? nonZeroTail : digits)
    return sequence(this.#point, choice(this.#larger(fraction, 'any-length'), same))
  }

  /** Digits that first differ from `digits` by a larger one, followed by as many as `digits` has, or by any number. */
  #larger(digits: string, tail: 'same-length' | 'any-length'): Language {
    return this.#languages.choice(
      ...Array.from(digits, (digit, place) => {
        const rest = digits.length - place - 1
        return this.#languages.sequence(
          this.#languages.literal(digits.slice(0, place)),
          this.#between(Number(digit) + 1, 9),
          tail === 'same-length'
            ? this.#languages.repeat(this.#digit, rest, rest)
            : this.#languages.repeat(this.#digit),
        )
      }),
    )
  }

  #between(low: number, high: number): Language {
    return low > high ? this.#languages.none : this.#languages.byte(ByteSet.range(0x30 + low, 0x30 + high))
  }
}

function bound(languages: Languages): Pick<Languages, 'sequence' | 'choice' | 'repeat' | 'optional'> {
  return {
    sequence: (...parts) => languages.sequence(...parts),
    choice: (...alternatives) => languages.choice(...alternatives),
    repeat: (of, min, max) => languages.repeat(of, min, max),
    optional: (of) => languages.optional(of),
  }
}

/** A number that is not negative, in decimal digits without exponent: those by which JavaScript writes it. */
function digitsOf(value: number): Digits {
  const [mantissa = '', exponent = '0'] = String(value).split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  const shift = Number(exponent)
  const digits = whole + fraction
  const point = whole.length + shift
  const padded = point <= 0 ? '0'.repeat(1 - point) + digits : digits.padEnd(point, '0')
  const at = Math.max(point, 1)
  return { whole: padded.slice(0, at).replace(/^0+(?=\d)/, ''), fraction: padded.slice(at).replace(/0+$/, '') }
}
