import type { LoadProgress, LoadReport } from './load-option.ts'
import type { Delivery } from './sender.ts'
import type { SourceMark } from './source/source-mark.ts'

/** What a load waits for. */
export type LoadStage = 'read' | 'encode' | 'server' | 'recompress' | 'analyze'

/** How far a file or stream is read. */
export interface InputProgress {
  readonly bytesRead: number | undefined
  readonly totalBytes: number | undefined
  /** Bytes that came to the end of a file meanwhile, and are not read. */
  readonly grownBytes?: number
  /** Of a file: what was read so far. */
  readonly mark?: SourceMark | undefined
}

type Figures = Pick<
  LoadReport,
  | 'rowsRead'
  | 'rowsWritten'
  | 'rowsSkipped'
  | 'rowsRejected'
  | 'rowsResumed'
  | 'batches'
  | 'retried'
  | 'seconds'
  | 'limit'
  | 'notices'
>

/** Counts what a load does, and where its time goes. */
export class LoadMeter {
  read = 0
  written = 0
  rejected = 0
  retried = 0
  resumed = 0
  /** Bytes encoded. */
  bytes = 0
  #skipped = 0
  #batches = 0
  readonly #start: number = performance.now()
  readonly #seconds: Record<LoadStage, number> = { read: 0, encode: 0, server: 0, recompress: 0, analyze: 0 }
  readonly #notices = new Set<string>()

  /** The mean size of a row as it is sent. */
  get bytesPerRow(): number {
    return this.read === 0 ? 0 : this.bytes / this.read
  }

  /** Counts a batch that is in the table. */
  deliver({ written, skipped, notices }: Delivery, rejected: number): void {
    this.#batches++
    this.written += written
    this.#skipped += skipped
    this.rejected += rejected
    for (const notice of notices) this.#notices.add(notice)
  }

  async timed<T>(stage: LoadStage, run: () => Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await run()
    } finally {
      this.#seconds[stage] += (performance.now() - start) / 1000
    }
  }

  progress(input: InputProgress | undefined): LoadProgress {
    return {
      rowsRead: this.read,
      rowsWritten: this.written,
      bytes: input?.bytesRead ?? this.bytes,
      totalBytes: input?.totalBytes,
      seconds: this.#elapsed,
      limit: this.#limit,
    }
  }

  figures(): Figures {
    return {
      rowsRead: this.read,
      rowsWritten: this.written,
      rowsSkipped: this.#skipped,
      rowsRejected: this.rejected,
      rowsResumed: this.resumed,
      batches: this.#batches,
      retried: this.retried,
      seconds: { ...this.#seconds, total: this.#elapsed },
      limit: this.#limit,
      notices: [...this.#notices],
    }
  }

  get #elapsed(): number {
    return (performance.now() - this.#start) / 1000
  }

  get #limit(): LoadReport['limit'] {
    const { read, encode, server } = this.#seconds
    if (read >= encode && read >= server) return 'read'
    return encode > server ? 'encode' : 'server'
  }
}
