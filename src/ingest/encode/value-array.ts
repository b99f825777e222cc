import type { ColumnType } from '../../catalog/column.ts'
import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import { maxDimensions, parseArrayText } from './array-text.ts'
import { kindOf, Misfit, type ValueWriter } from './value.ts'

/** Arrays, nested as in the server's (every list of one level as long as the others), typed arrays, and the server's text. */
export function arrayWriter(type: ColumnType, element: ValueWriter): ValueWriter {
  return (buffer, value) => {
    const list = listOf(value)
    const dimensions = measure(list)
    const start = buffer.length
    const at = buffer.reserve(4)
    // The block this stands in may be full, and another one in use, before the length is known.
    const { view } = buffer
    writeHeader(buffer, list, dimensions, type.typeId)
    if (dimensions.length > 0) writeItems(buffer, list, 0, dimensions, element)
    view.setInt32(at, buffer.length - start - 4)
  }
}

/** The items of what may stand for an array. @throws Misfit */
export function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  if (ArrayBuffer.isView(value) && !(value instanceof DataView) && !(value instanceof Uint8Array)) {
    // Every view but DataView can be iterated, which TypeScript does not see.
    return Array.from(value as unknown as Iterable<number | bigint>)
  }
  if (typeof value !== 'string') throw new Misfit(kindOf(value))
  const items = parseArrayText(value)
  if (items === undefined) throw new Misfit('a text that is no array such as {1,2}')
  return items
}

/** The lengths of the levels, from the first item of each; none for an empty array. */
function measure(list: readonly unknown[]): number[] {
  const lengths: number[] = []
  let level: unknown = list
  while (Array.isArray(level)) {
    if (level.length === 0) {
      if (lengths.length > 0) throw new Misfit('an array with an empty array in it')
      return []
    }
    lengths.push(level.length)
    if (lengths.length > maxDimensions) throw new Misfit(`an array of more than ${maxDimensions} dimensions`)
    level = level[0]
  }
  return lengths
}

/** `array_send`: dimensions, whether there are nulls, the elements' type; then length and lower bound of each level. */
function writeHeader(
  buffer: CopyBuffer,
  list: readonly unknown[],
  dimensions: readonly number[],
  typeId: number,
): void {
  buffer.int32(dimensions.length)
  buffer.int32(hasNull(list) ? 1 : 0)
  const at = buffer.reserve(4)
  buffer.view.setUint32(at, typeId)
  for (const length of dimensions) {
    buffer.int32(length)
    buffer.int32(1)
  }
}

function hasNull(list: readonly unknown[]): boolean {
  return list.some((item) => item === null || (Array.isArray(item) && hasNull(item)))
}

function writeItems(
  buffer: CopyBuffer,
  list: readonly unknown[],
  level: number,
  dimensions: readonly number[],
  element: ValueWriter,
): void {
  if (list.length !== dimensions[level]) throw new Misfit('an array whose lists are not equally long')
  const innermost = level === dimensions.length - 1
  for (const item of list) {
    if (!innermost) {
      if (!Array.isArray(item)) throw new Misfit('an array that is not nested equally deep')
      writeItems(buffer, item, level + 1, dimensions, element)
    } else if (item === null) buffer.null()
    else if (Array.isArray(item)) throw new Misfit('an array that is not nested equally deep')
    else element(buffer, item)
  }
}
