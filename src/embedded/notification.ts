/** LISTEN and NOTIFY of each connection, although the engine's one session listens for all. */
import { HEADER_BYTES, readText } from '../wire/message.ts'
import { UNREAD_LIMIT } from './engine-message.ts'
import type { LogicalConnection } from './logical-connection.ts'

/** Gives a NotificationResponse to all who listen but `running`, which gets it in the stream of its own answers. */
export function notify(
  connections: Iterable<LogicalConnection>,
  bytes: Buffer,
  running: LogicalConnection | undefined,
): void {
  const [channel] = readText(bytes, HEADER_BYTES + 4)
  for (const connection of connections)
    if (connection !== running && connection.names.channels.has(channel)) tell(connection, Buffer.from(bytes))
}

/** A listener that reads nothing must not fill this process's memory. */
function tell({ stream }: LogicalConnection, bytes: Buffer): void {
  if (stream.writableLength > UNREAD_LIMIT) stream.destroy()
  else stream.write(bytes)
}

/** Takes up all connections' channels again; undefined where nobody listens. */
export function listenSql(connections: Iterable<LogicalConnection>): string | undefined {
  const channels = new Set([...connections].flatMap((one) => [...one.names.channels]))
  if (channels.size === 0) return undefined
  return [...channels].map((channel) => `listen "${channel.replaceAll('"', '""')}"`).join('; ')
}
