// Formats of JSON Schema as regular expressions. Each is held by test/structured/json-schema.test.ts against ajv-formats: what these take, that takes.

const hexDigits = '[0-9a-fA-F]'
const octet = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const group = `${hexDigits}{1,4}`
/** Eight groups, or fewer around one `::`; after so many before it at most the others follow. */
const ipv6 = [
  `(?:${group}:){7}${group}`,
  `(?:${group}:){1,7}:`,
  ...[1, 2, 3, 4, 5, 6].map((before) => `(?:${group}:){1,${before}}(?::${group}){1,${7 - before}}`),
  `:(?:(?::${group}){1,7}|:)`,
].join('|')
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?'
const leapYear = '(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)'
const date = `(?:${leapYear}-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8])))`
const clock = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?'
const time = `${clock}(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)`
const days = '\\d{1,9}'
const timePart = `T(?:${days}H(?:${days}M)?(?:${days}S)?|${days}M(?:${days}S)?|${days}S)`
const atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
const uriCharacter = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"

/** By name, anchored; a narrower form where the standard's own has corners that no model needs. */
export const formats: ReadonlyMap<string, string> = new Map([
  ['date', date],
  ['time', time],
  ['date-time', `${date}T${time}`],
  [
    'duration',
    `P(?:${days}W|(?:${days}Y(?:${days}M(?:${days}D)?)?|${days}M(?:${days}D)?|${days}D)(?:${timePart})?|${timePart})`,
  ],
  ['email', `${atom}(?:\\.${atom})*@(?:${label}\\.)+${label}`],
  ['hostname', `${label}(?:\\.${label}){0,3}`],
  ['ipv4', `${octet}(?:\\.${octet}){3}`],
  ['ipv6', ipv6],
  [
    'uri',
    `https?://(?:${label}\\.)*${label}(?::[1-9]\\d{0,3})?(?:/${uriCharacter}*)*(?:\\?(?:${uriCharacter}|[/?])*)?(?:#(?:${uriCharacter}|[/?])*)?`,
  ],
  ['uuid', `${hexDigits}{8}-(?:${hexDigits}{4}-){3}${hexDigits}{12}`],
])
