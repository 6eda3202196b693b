/**
 * A set-based statement of the hot path, written once as SQL and prepared once per connection. Drizzle's
 * query builder is for schemas, migrations and reads; a statement over arrays is clearer as SQL, and a
 * named one is parsed and planned once: unprepared, that costs more than the work itself at batches of 30.
 */
import { createHash } from 'node:crypto';
import type pg from 'pg';
import { joinFlight } from './flight.ts';

type OnConnection = { $client: pg.PoolClient };

/** Returns a function that runs the statement and gives its rows. Values bind to $1, $2, … in order. */
export function statement<Row extends pg.QueryResultRow = never>(
  text: string,
): (tx: OnConnection, ...values: unknown[]) => Promise<Row[]> {
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 16);
  return async (tx, ...values) => {
    joinFlight(tx.$client);
    const result = await tx.$client.query<Row>({ name, text, values });
    return result.rows;
  };
}

/** Turns rows into the arrays that `unnest` takes: one array per column, in the order of the keys. */
export function columns<Row extends object, Key extends keyof Row>(
  rows: readonly Row[],
  keys: readonly Key[],
): Row[Key][][] {
  return keys.map((key) => rows.map((row) => row[key]));
}
