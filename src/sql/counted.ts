/** A number with its noun, as messages say it: `1 chunk`, `2 chunks`. */
export function counted(value: number, noun: string): string {
  return `${value} ${noun}${value === 1 ? '' : 's'}`
}
