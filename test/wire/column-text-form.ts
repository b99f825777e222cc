import type { IntervalValue } from '../../src/results/column-value.ts'
import { dateText, intervalText, timestampText, timeText } from '../../src/results/time-text.ts'
import type { ColumnType } from '../../src/wire/column.ts'

/** A value of a column in a form that is equal exactly when the server's text is. */
export function comparable(type: ColumnType, value: unknown): unknown {
  if (value === null) return null
  switch (type.kind) {
    case 'bool':
      return value === true ? 't' : 'f'
    case 'float32':
      return Math.fround(Number(value))
    case 'float64':
      return Number(value)
    case 'binary':
      return `\\x${Buffer.from(value as Buffer).toString('hex')}`
    case 'date':
      return dateText(value as number)
    case 'timestamp':
      return timestampText(value as bigint, '')
    case 'timestamptz':
      return timestampText(value as bigint, '+00')
    case 'time':
      return timeText(value as bigint)
    case 'interval':
      return intervalText(value as IntervalValue)
    case 'list':
      return (value as unknown[]).map((item) =>
        Array.isArray(item) ? comparable(type, item) : comparable(type.element, item),
      )
    default:
      return String(value)
  }
}

/** The server's text in the same form. */
export function comparableText(type: ColumnType, text: string | null): unknown {
  if (text === null) return null
  if (type.kind === 'float64') return Number(number(text))
  if (type.kind === 'float32') return Math.fround(Number(number(text)))
  return text
}

const number = (text: string): string => text.replace('infinity', 'Infinity')
