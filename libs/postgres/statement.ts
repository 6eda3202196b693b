/**
 * A set-based statement of the hot path, written once as SQL and prepared once per connection. Drizzle's
 * query builder is for schemas, migrations and reads; a statement over arrays is clearer as SQL, and a
 * prepared one is parsed and planned once: unprepared, that costs more than the work itself at batches of 30.
 */
import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { Tx } from './transaction.ts';

/** Returns a function that runs the statement and gives its rows. Values bind to $1, $2, … in order. */
export function statement<Row extends pg.QueryResultRow = never>(
  text: string,
): (tx: Pick<Tx, 'send'>, ...values: unknown[]) => Promise<Row[]> {
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 16);
  return async (tx, ...values) => (await tx.send(name, text, values)).rows as Row[];
}

/** Turns rows into the arrays that `unnest` takes: one array per column, in the order of the keys. */
export function columns<Row extends object, Key extends keyof Row>(
  rows: readonly Row[],
  keys: readonly Key[],
): Row[Key][][] {
  return keys.map((key) => rows.map((row) => row[key]));
}
