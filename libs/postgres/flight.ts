/**
 * Statements that are sent in one turn of the event loop leave the process in one write. A pipelined
 * connection writes once per statement by itself; those system calls, and the wake-ups of the backend that
 * they cause, were a quarter of a service's CPU under load (node --cpu-prof).
 */
import type { Writable } from 'node:stream';
import type pg from 'pg';

/** Call before a statement is handed to the client: holds the socket back until this turn is over. */
export function joinFlight(client: pg.PoolClient): void {
  const { stream } = (client as unknown as { connection: { stream: Writable } }).connection;
  if (stream.writableCorked > 0) return;
  stream.cork();
  process.nextTick(() => stream.uncork());
}
