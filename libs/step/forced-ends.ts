/**
 * What an operator forces, in SQL. COMMIT PREPARED cannot share a transaction with a note of it, so the note comes
 * first: whatever is killed in between, the deed does not go untold. It says less than a recorded one: that an
 * operator asked, and not whether operator or coordinator was the one who ended the branch.
 */
import { randomUUIDv7 } from 'node:crypto';
import type pg from 'pg';
import type { Decision } from '#libs/contracts/two-phase.ts';

/** One try, with an id of its own: what becomes of it says nothing of another one that runs beside it. */
export async function noteForce(
  pool: pg.Pool,
  transactionId: string,
  decision: Decision,
  at: Date,
): Promise<string> {
  const id = randomUUIDv7();
  await pool.query(
    'insert into forced_ends (transaction_id, id, decision, asked_at) values ($1, $2, $3, $4)',
    [transactionId, id, decision, at],
  );
  return id;
}

/** It was this try that ended the branch: told with the branch, for the checker and for the coordinator. */
export async function recordForced(
  pool: pg.Pool,
  { id, transactionId, decision }: { id: string; transactionId: string; decision: Decision },
  at: Date,
): Promise<void> {
  await pool.query(
    `with done as (update forced_ends set ended_at = $4 where transaction_id = $1 and id = $2)
     insert into branches (transaction_id, state, order_ids, recorded_at) values ($1, $3, '{}', $4)
     on conflict (transaction_id) do update set state = excluded.state`,
    [transactionId, id, `heuristic-${decision}`, at],
  );
}

/** Somebody else was first: the operator has done nothing. */
export async function withdrawForce(pool: pg.Pool, transactionId: string, id: string): Promise<void> {
  await pool.query('delete from forced_ends where transaction_id = $1 and id = $2', [transactionId, id]);
}

/** The branch has ended the other way: of all that were to end it this way, none has. */
export async function withdrawForces(
  pool: pg.Pool,
  transactionId: string,
  decision: Decision,
): Promise<void> {
  await pool.query('delete from forced_ends where transaction_id = $1 and decision = $2', [
    transactionId,
    decision,
  ]);
}

/** Whether an operator has ended it so, or may have. */
export async function wasForced(pool: pg.Pool, transactionId: string, decision: Decision): Promise<boolean> {
  const { rowCount } = await pool.query(
    'select from forced_ends where transaction_id = $1 and decision = $2 limit 1',
    [transactionId, decision],
  );
  return rowCount === 1;
}
