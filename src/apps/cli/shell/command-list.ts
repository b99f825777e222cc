/** A command of the shell itself, which begins with a backslash. */
export interface ShellCommand {
  readonly name: string
  readonly argument: string
  readonly description: string
}

/** All commands, in the order of \?. */
export const COMMANDS: readonly ShellCommand[] = [
  { name: '\\d', argument: '[PATTERN]', description: 'tables and views; or columns and indexes of each' },
  { name: '\\dt', argument: '[PATTERN]', description: 'tables' },
  { name: '\\dv', argument: '[PATTERN]', description: 'views, continuous aggregates among them' },
  { name: '\\dm', argument: '[PATTERN]', description: 'materialized views' },
  { name: '\\df', argument: '[PATTERN]', description: 'functions; with a pattern those of extensions too' },
  { name: '\\dn', argument: '[PATTERN]', description: 'schemas' },
  { name: '\\dh', argument: '', description: 'hypertables' },
  { name: '\\dc', argument: 'TABLE', description: 'chunks of a hypertable, newest first' },
  { name: '\\da', argument: '', description: 'continuous aggregates' },
  { name: '\\dj', argument: '', description: 'jobs' },
  { name: '\\chart', argument: '[x,y[,by]]', description: 'draw the statement before it, or the last result' },
  {
    name: '\\watch',
    argument: '[SECONDS]',
    description: 'run the statement before it, or the last one, again and again',
  },
  { name: '\\x', argument: '', description: 'rows below each other, on or off' },
  { name: '\\rows', argument: 'N|all', description: 'show at most so many rows; the first ones' },
  { name: '\\timing', argument: '', description: 'how long statements take, on or off' },
  { name: '\\copy', argument: "TABLE|(QUERY) from|to 'FILE' …", description: 'COPY with a file of this machine' },
  { name: '\\i', argument: 'FILE', description: 'run the statements of a file' },
  { name: '\\r', argument: '', description: 'forget what was typed of a statement' },
  { name: '\\?', argument: '', description: 'this list' },
  { name: '\\q', argument: '', description: 'leave, as Ctrl-D does' },
]
