/** Single shared rows: which ones an intent touches, which of them somebody holds, and the wait for one. */
import { statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { SharedRows } from './step.ts';
import type { Intent } from './transact.ts';

export type Row = { name: string; of: SharedRows; value: string };

export function rowsOf({ reaction, cause, refusal }: Intent): Row[] {
  const shares: SharedRows | undefined = reaction.step.shares;
  // An injected refusal does not ask the step, so it locks nothing.
  if (!shares || refusal !== undefined) return [];
  return shares.of(cause).map((value) => ({ name: `${shares.table}/${value}`, of: shares, value }));
}

/** Waits inside PostgreSQL, as long as the transaction's lock timeout lets it, and keeps the row. */
export async function lockRow(tx: Tx, row: Row): Promise<void> {
  await statementsOn(row.of).lockOne(tx, row.value);
}

/** The names of those that somebody else holds. All others are locked by this transaction, without waiting. */
export async function heldAmong(tx: Tx, rows: readonly Row[]): Promise<Set<string>> {
  const held = new Set<string>();
  const asked = [...Map.groupBy(rows, (row) => row.of)].map(async ([of, group]) => {
    const { lockFree, find } = statementsOn(of);
    const values = [...new Set(group.map(({ value }) => value))];
    const [free, found] = await Promise.all([lockFree(tx, values), find(tx, values)]);
    const got = new Set(free.map(({ value }) => value));
    for (const { value } of found) if (!got.has(value)) held.add(`${of.table}/${value}`);
  });
  await Promise.all(asked);
  return held;
}

const setLockTimeout = statement(`select set_config('lock_timeout', $1, true)`);

/** From here to the end of the transaction. */
export function limitLockWaits(tx: Tx, ms: number): void {
  tx.write(setLockTimeout(tx, `${ms}ms`));
}

const lockJournal = statement('lock table journal in row exclusive mode');

/** For a look of its own. Fails when more than single rows is locked: the whole table, as by a migration. */
export async function findHeld(tx: Tx, intents: readonly Intent[], waitMs: number): Promise<Set<string>> {
  limitLockWaits(tx, waitMs);
  tx.write(lockJournal(tx));
  return heldAmong(tx, intents.flatMap(rowsOf));
}

type Found = { value: string };
type Statements = Record<'lockOne' | 'lockFree' | 'find', ReturnType<typeof statement<Found>>>;
const statementsFor = new WeakMap<SharedRows, Statements>();

function statementsOn(of: SharedRows): Statements {
  let found = statementsFor.get(of);
  if (!found) {
    const { table, column } = of;
    const select = `select ${column} as value from ${table} where ${column}`;
    found = {
      lockOne: statement<Found>(`${select} = $1 for update`),
      lockFree: statement<Found>(`${select} = any($1::text[]) order by ${column} for update skip locked`),
      find: statement<Found>(`${select} = any($1::text[])`),
    };
    statementsFor.set(of, found);
  }
  return found;
}
