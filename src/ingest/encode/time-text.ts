const months = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ')
const month =
  '(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)'
const clock = '((?:[ T]+\\d{1,2}:.*)?)'

const slashes = new RegExp(`^(\\d{4})/(\\d{1,2})/(\\d{1,2})${clock}$`)
const monthFirst = new RegExp(`^${month} (\\d{1,2}),? (\\d{4})${clock}$`, 'i')
const dayFirst = new RegExp(`^(\\d{1,2})([- ])${month}\\2(\\d{4})${clock}$`, 'i')
const unclear = /^\d{1,2}([-/.])\d{1,2}\1(?:\d{2}|\d{4})(?!\d)/

/**
 * ISO 8601 for the other ways to write a day that have one meaning: `2001/01/31 06:55`, `Jan 31, 2001`, `31-Jan-2001`.
 * Undefined for anything else; whether there is such a day is not looked at.
 */
export function isoText(text: string): string | undefined {
  const year = slashes.exec(text)
  if (year !== null) return joined(year[1], year[2], year[3], year[4])
  const named = monthFirst.exec(text)
  if (named !== null) return joined(named[3], monthOf(named[1]), named[2], named[4])
  const day = dayFirst.exec(text)
  return day === null ? undefined : joined(day[4], monthOf(day[3]), day[1], day[5])
}

/** Whether a text is a day of which nobody knows whether the month comes first. */
export function isUnclearDay(text: string): boolean {
  return unclear.test(text)
}

function monthOf(name = ''): string {
  return String(months.indexOf(name.slice(0, 3).toLowerCase()) + 1)
}

function joined(year = '', month = '', day = '', time = ''): string {
  const clock = time.replace(/^[ T]+(\d:)/, ' 0$1').replace(/^[ T]+/, ' ')
  return `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}${clock}`
}
