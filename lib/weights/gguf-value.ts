// The values a GGUF key may hold, as JavaScript sees them.

/** A numeric array, one element per array element of the file, copied out of the header. */
export type GgufNumericArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array

/** Scalars: 64-bit integers are numbers while they are safe integers, else bigints. Arrays: typed arrays for numbers, plain arrays for strings and booleans. */
export type GgufValue = number | bigint | boolean | string | GgufNumericArray | readonly string[] | readonly boolean[]
