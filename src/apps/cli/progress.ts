import { basename } from 'node:path'
import { SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import type { GlobalOptions } from './open.ts'
import { formatBytes, formatCount } from './output.ts'

/** How far a transfer of rows is. */
export interface Transfer {
  readonly rows: number
  readonly bytes: number
  /** All bytes there are; undefined where nobody knows. */
  readonly totalBytes?: number | undefined
  readonly seconds: number
  /** The stage that the others wait for. */
  readonly limit: string
}

/** What shows how far a transfer is, on stderr. */
export interface TransferProgress {
  update(transfer: Transfer): void
  stop(): void
}

/** Where stderr is no terminal, a line comes after so much time. */
const lineMs = 5000

/** A bar where stderr is a terminal; else lines, but none with `--json`, where only errors belong there. */
export function showTransfer(command: Command, label: string): TransferProgress {
  if (process.stderr.isTTY) return bar(basename(label))
  if (command.optsWithGlobals<GlobalOptions>().json === true) return { update: () => undefined, stop: () => undefined }
  return lines(label)
}

function bar(label: string): TransferProgress {
  let shown: SingleBar | undefined
  return {
    update: (transfer) => {
      const { bytes, totalBytes } = transfer
      const known = totalBytes !== undefined && totalBytes > 0
      if (shown === undefined) {
        const format = known ? `${label} {bar} {percentage}% {text}` : `${label} {text}`
        shown = new SingleBar({ format, stream: process.stderr, barsize: 20, hideCursor: true, fps: 10 })
        shown.start(known ? totalBytes : 1, 0, { text: '' })
      }
      shown.update(known ? Math.min(bytes, totalBytes) : 0, { text: describe(transfer) })
    },
    stop: () => shown?.stop(),
  }
}

function lines(label: string): TransferProgress {
  let next = performance.now() + lineMs
  return {
    update: (transfer) => {
      if (performance.now() < next) return
      next = performance.now() + lineMs
      process.stderr.write(`${label}: ${percentage(transfer)}${describe(transfer)}\n`)
    },
    stop: () => undefined,
  }
}

function describe(transfer: Transfer): string {
  const { rows, bytes, totalBytes, seconds, limit } = transfer
  const rate = seconds > 0 ? Math.round(rows / seconds) : 0
  const parts = [formatCount(rows, 'row'), formatBytes(bytes), `${count(rate)} rows/s`]
  if (totalBytes !== undefined && bytes > 0) {
    parts.push(`${duration((seconds * Math.max(0, totalBytes - bytes)) / bytes)} left`)
  }
  parts.push(`limit: ${limit}`)
  return parts.join(', ')
}

function percentage({ bytes, totalBytes }: Transfer): string {
  return totalBytes === undefined || totalBytes === 0 ? '' : `${Math.floor((100 * bytes) / totalBytes)}%, `
}

/** A count as people read it: `1,234,567`. */
export function count(value: number): string {
  return value.toLocaleString('en-US')
}

/** Seconds as people read them: `4.2 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} min ${whole % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
