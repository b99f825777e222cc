/** After this time work counts as long. */
const QUIET_MS = 500
const FRAME_MS = 100
const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const CLEAR = '\r\u001b[K'

/**
 * Runs one long statement with a line on stderr that says how long it has taken, and how far it is where the work tells:
 * on a terminal only, and gone at its end. Where nobody sees it, the work is not asked to tell.
 */
export async function withElapsed<T>(
  label: string,
  work: (tell: ((progress: string) => void) | undefined) => Promise<T>,
): Promise<T> {
  const { stderr } = process
  if (!stderr.isTTY || process.env['TERM'] === 'dumb') return work(undefined)
  const started = performance.now()
  let shown = false
  let told = ''
  const timer = setInterval(() => {
    const ms = performance.now() - started
    if (ms < QUIET_MS) return
    shown = true
    const frame = FRAMES[Math.floor(ms / FRAME_MS) % FRAMES.length]
    const seconds = Math.floor(ms / 1000)
    const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
    // A line that is wrapped could not be cleared; a terminal that does not know its width says 0.
    stderr.write(`${CLEAR}${frame} ${`${label}: ${told}${time}, Ctrl-C cancels`.slice(0, (stderr.columns || 80) - 3)}`)
  }, FRAME_MS)
  try {
    return await work((progress) => {
      told = `${progress}, `
    })
  } finally {
    clearInterval(timer)
    if (shown) stderr.write(CLEAR)
  }
}
