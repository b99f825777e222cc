const months = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ')
const month =
  '(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)'
const clock = '((?:[ T]+\\d{1,2}:.*)?)'

const slashes = new RegExp(`^(\\d{4})/(\\d{1,2})/(\\d{1,2})${clock}$`)
const monthFirst = new RegExp(`^${month} (\\d{1,2}),? (\\d{4})${clock}$`, 'i')
const dayFirst = new RegExp(`^(\\d{1,2})([- ])${month}\\2(\\d{4})${clock}$`, 'i')
const compact = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)((?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?)$/i
const shortHour = /^(\d{4}-\d\d-\d\d[ T])(\d:.*)$/
const greenwich = /^(.*:\d\d(?:\.\d+)?) ?(?:UTC|GMT)$/i
const halves = /^(.*[ T])?(\d{1,2})(:\d\d(?::\d\d(?:\.\d+)?)?) ?([AP])M$/i
const unclear = /^\d{1,2}([-/.])\d{1,2}\1(?:\d{2}|\d{4})(?!\d)/

/**
 * ISO 8601 for the other ways to write a day or time that have one meaning: `2001/01/31 06:55`, `Jan 31, 2001`,
 * `31-Jan-2001`, `20010131T065500Z`, `2001-01-31 06:55 PM`, `2001-01-31 06:55 UTC`. Undefined for anything else; whether
 * there is such a day is not looked at.
 */
export function isoText(text: string): string | undefined {
  // Cheap to see, and most texts are not of these.
  const last = text.charCodeAt(text.length - 1) | 32
  if (last === LETTER_C || last === LETTER_T) {
    const zoned = greenwich.exec(text)?.[1]
    if (zoned !== undefined) return isoDay(`${zoned}Z`) ?? `${zoned}Z`
  }
  if (last === LETTER_M) {
    const clock = fullDayClock(text)
    if (clock !== undefined) return isoDay(clock) ?? clock
  }
  return isoDay(text)
}

const LETTER_C = 99
const LETTER_M = 109
const LETTER_T = 116

/** A text whose clock ends in AM or PM, with the hours of the whole day; undefined for any other, as the server reads it. */
export function fullDayClock(text: string): string | undefined {
  const [, day = '', hour, rest, half] = halves.exec(text) ?? []
  if (hour === undefined || Number(hour) > 12) return undefined
  const inDay = (Number(hour) % 12) + (half?.toLowerCase() === 'p' ? 12 : 0)
  return `${day}${String(inDay).padStart(2, '0')}${rest}`
}

function isoDay(text: string): string | undefined {
  const close = compact.exec(text)
  if (close !== null) return `${close[1]}-${close[2]}-${close[3]}T${close[4]}:${close[5]}:${close[6]}${close[7]}`
  const short = shortHour.exec(text)
  if (short !== null) return `${short[1]}0${short[2]}`
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
