import { formatInterval } from '../../sql/interval.ts'
import { formatDate, formatTimestamp } from '../../sql/timestamp.ts'
import type { ValueOptions } from './value.ts'
import { listOf } from './value-array.ts'
import { intervalOf, microsecondsOf } from './value-time.ts'

/** Gives for an item of an array what the server reads without knowing our options. */
type PlainItem = (item: unknown) => unknown

/**
 * How items of an array are written where it goes as text: the server would read times by the session's settings.
 * @param receive - the function of the items' type
 * @returns undefined where a bound parameter's text says the same
 */
export function plainItem(receive: string, options: ValueOptions): PlainItem | undefined {
  switch (receive) {
    case 'timestamptz_recv':
      return (item) => formatTimestamp(microsecondsOf(item, 'timestamptz', options), { zone: true })
    case 'timestamp_recv':
      return (item) => formatTimestamp(microsecondsOf(item, 'timestamp', options), { zone: false })
    case 'date_recv':
      return (item) => formatDate(microsecondsOf(item, 'date', options), { round: 'down' })
    case 'interval_recv':
      return (item) => formatInterval(intervalOf(item))
    case 'uuid_recv':
      return (item) => (item instanceof Uint8Array ? Buffer.from(item).toString('hex') : item)
    default:
      return undefined
  }
}

/** The items of whatever stands for an array, nested as they are, each as `plain` gives it. */
export function arrayItems(value: unknown, plain: PlainItem): unknown {
  const each = (item: unknown): unknown => (Array.isArray(item) ? item.map(each) : item === null ? null : plain(item))
  return listOf(value).map(each)
}
