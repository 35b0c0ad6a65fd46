// Bytes as people read them.

/** `3.6 MiB` */
export function size(nbytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  for (; nbytes >= 1024 && unit < units.length - 1; unit++) nbytes /= 1024
  return `${unit === 0 ? nbytes : nbytes.toFixed(1)} ${units[unit]}`
}
