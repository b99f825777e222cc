import { describe, expect, test } from 'vitest'
import { timeFormatOf } from '../../src/ingest/encode/time-format.ts'

const read = (timeFormat: string, text: string): string | undefined => timeFormatOf({ timeFormat })?.(text)

describe('a time format', () => {
  test.each([
    ['DD/MM/YYYY', '31/01/2025', '2025-01-31'],
    ['DD/MM/YYYY', '1/2/2025', '2025-02-01'],
    ['MM-DD-YYYY HH24:MI', '01-31-2025 7:05', '2025-01-31T07:05:00'],
    ['YYYYMMDDHH24MISS', '20250131070509', '2025-01-31T07:05:09'],
    ['YYYY-MM-DD"T"HH24', '2025-01-31"T"07', '2025-01-31T07:00:00'],
    ['YYYY-MM-DDTHH24:MI:SS.US', '2025-01-31T07:05:09.5', '2025-01-31T07:05:09.500000'],
    ['YYYY-MM-DD HH24:MI:SS.MS', '2025-01-31 07:05:09.5', '2025-01-31T07:05:09.500'],
    ['Mon DD YYYY', 'Jan 1 2000', '2000-01-01'],
    ['DD Month YYYY', '5 september 1999', '1999-09-05'],
    ['MM/DD/YYYY HH12:MI AM', '12/31/2024 12:05 am', '2024-12-31T00:05:00'],
    ['MM/DD/YYYY HH12:MI AM', '12/31/2024 12:05 PM', '2024-12-31T12:05:00'],
    ['DD.MM.YYYY HH24:MI TZH:TZM', '31.01.2025 10:00 -03:30', '2025-01-31T10:00:00-03:30'],
    ['DD.MM.YYYY HH24:MITZH', '31.01.2025 10:00+02', '2025-01-31T10:00:00+02'],
  ])('%s reads %s', (format, text, iso) => {
    expect(read(format, text)).toBe(iso)
    expect(read(format, ` ${text} `)).toBe(iso)
  })

  test.each([
    ['DD/MM/YYYY', '2025-01-31'],
    ['DD/MM/YYYY', '31/01/25'],
    ['DD/MM/YYYY', '31/01/2025 10:00'],
    ['YYYYMMDD', '2025131'],
    ['Mon DD YYYY', 'Jax 1 2000'],
    ['MM/DD/YYYY HH12:MI AM', '12/31/2024 13:05 PM'],
    ['DD.MM.YYYY', '31x01x2025'],
  ])('%s does not read %s', (format, text) => {
    expect(read(format, text)).toBeUndefined()
  })

  test.each([
    'DD/MM',
    'DD/MM/YY',
    'YYYY-MM-DD HH12',
    'YYYY-MM-DD HH24 AM',
    'YYYY-MM-MM',
    'YYYY-MM-DD Q',
    '%Y-%m-%d',
    '',
  ])('%s is refused', (format) => {
    expect(() => read(format, 'x')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })
})
