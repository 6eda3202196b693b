/** What an operator forces is recorded, whatever happens between the note, the end and the record; and nothing else is. */
import { randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Read, readBranches } from '#libs/checker/two-phase-facts.ts';
import { type Decision, decisions, gidOf } from '#libs/contracts/two-phase.ts';
import { noFaults } from '#libs/faults/injector.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { openTransaction } from '#libs/postgres/transaction.ts';
import { type BranchEnds, createBranchEnds } from '#libs/step/branch-ends.ts';
import { branchState, committedBranches, enterBranch, forgetBranches } from '#libs/step/branches.ts';
import { noteForce } from '#libs/step/forced-ends.ts';
import { createParticipant } from '#libs/step/participant.ts';
import { traceNothing } from '#libs/telemetry/batch-trace.ts';
import { eventually } from '../support/eventually.ts';
import { freshDatabase } from '../support/fresh-database.ts';

let pool: pg.Pool;
let ends: BranchEnds;
const dayMs = 24 * 60 * 60 * 1_000;
const other: Record<Decision, Decision> = { commit: 'abort', abort: 'commit' };

beforeAll(async () => {
  pool = createPool(await freshDatabase('forced'), { name: 'forced', purpose: 'steps', onError: () => {} });
  await migrate(pool, 'services/payment/migrations');
  const shared = { service: 'payment', pool, injector: noFaults, now: () => new Date() } as const;
  const nothing = { onVerdicts: () => {}, onTrouble: () => {} };
  const participant = createParticipant({
    ...shared,
    ...nothing,
    participation: [],
    traceBatch: traceNothing,
  });
  const publisher = {
    publish: async () => {},
    markPublished: () => {},
    distrust: () => {},
    losses: () => 0,
    isOurs: () => false,
    stop: async () => {},
  };
  ends = createBranchEnds({ ...shared, participant, publisher, onReleased: () => {} });
});
beforeEach(() => pool.query('truncate branches, forced_ends'));
afterAll(() => pool.end());

async function prepared(): Promise<string> {
  const transactionId = randomUUIDv7();
  const transaction = await openTransaction(pool);
  await enterBranch(transaction.tx, transactionId, [], new Date());
  await transaction.prepare(gidOf(transactionId, 'payment'));
  return transactionId;
}

const isThere = async (transactionId: string) =>
  (await pool.query('select from pg_prepared_xacts where gid = $1', [gidOf(transactionId, 'payment')]))
    .rowCount;
/** What has not been done comes first: ids of the same millisecond are in no order. */
const noted = async () =>
  (await pool.query('select decision, ended_at is not null as done from forced_ends order by done')).rows;
/** The row of a branch that is barred or aborted is no testimony. */
const testified = async (transactionId: string) => {
  const question = { of: [transactionId], beganBefore: '00000000-0000-0000-0000-000000000000' };
  return (await committedBranches(pool, question, new Date())).map(({ forced }) => forced);
};

/** The connection goes with the record of what has been done: as if the process had been killed there. */
async function whileRecordingFails(work: () => Promise<void>): Promise<void> {
  await pool.query(`create function die() returns trigger language plpgsql as
    $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1); return new; end $$;
    create trigger dies before update on forced_ends for each row execute function die()`);
  try {
    await work();
  } finally {
    await pool.query('drop function die() cascade');
  }
}

describe.each(decisions)('When an operator forces the %s of a branch', (decision) => {
  test('then it is recorded, and may be asked for again, by that operator alone', async () => {
    const transactionId = await prepared();
    expect(await ends.force(transactionId, decision)).toBe('ended');
    expect(await branchState(pool, transactionId)).toBe(`heuristic-${decision}`);
    expect(await ends.force(transactionId, decision)).toBe('ended');
    expect(await ends.force(transactionId, other[decision])).toBeUndefined();
    expect(await noted()).toEqual([{ decision, done: true }]);
    expect(await testified(transactionId)).toEqual(decision === 'commit' ? [true] : []);
  });

  test('and all is lost between the end and its record, then the deed is known, and repeated', async () => {
    const transactionId = await prepared();
    await whileRecordingFails(async () => {
      await expect(ends.force(transactionId, decision)).rejects.toThrow();
    });
    expect(await isThere(transactionId)).toBe(0);
    expect(await noted()).toEqual([{ decision, done: false }]);
    // It may have been the operator's: no proof of a decision that the log has lost.
    expect(await testified(transactionId)).toEqual(decision === 'commit' ? [true] : []);
    expect(await ends.force(transactionId, decision)).toBe('ended');
    expect(await branchState(pool, transactionId)).toBe(decision === 'commit' ? 'prepared' : 'barred');
    expect(await ends[other[decision]](transactionId)).toMatchObject({ state: 'contradicts' });
  });

  test('and all is lost before the end, then a repeat ends it', async () => {
    const transactionId = await prepared();
    await noteForce(pool, transactionId, decision, new Date());
    expect(await ends.force(transactionId, decision)).toBe('ended');
    expect(await branchState(pool, transactionId)).toBe(`heuristic-${decision}`);
    expect((await noted()).map(({ done }) => done)).toEqual([false, true]);
  });

  test('and all is lost before the end, and it ends the other way, then a repeat says so and no deed is left', async () => {
    const transactionId = await prepared();
    await noteForce(pool, transactionId, decision, new Date());
    expect(await ends[other[decision]](transactionId)).toMatchObject({ state: 'ended' });
    expect(await ends.force(transactionId, decision)).toBe('contradicts');
    expect(await noted()).toEqual([]);
    expect(await testified(transactionId)).toEqual(decision === 'abort' ? [false] : []);
  });

  test.each(decisions)(
    'and the coordinator comes between with %s, then that stands and no deed',
    async (said) => {
      const transactionId = await prepared();
      const holder = new pg.Client({ connectionString: pool.options.connectionString });
      await holder.connect();
      await holder.query('begin; lock table forced_ends in share mode');
      const forced = ends.force(transactionId, decision);
      await eventually('the operator waits to note it', async () => {
        const waits = `select from pg_locks where relation = 'forced_ends'::regclass and not granted`;
        return (await pool.query(waits)).rowCount === 1;
      });
      expect(await ends[said](transactionId)).toMatchObject({ state: 'ended' });
      await holder.end();
      expect(await forced).toBeUndefined();
      expect(await noted()).toEqual([]);
      expect(await branchState(pool, transactionId)).toBe(said === 'commit' ? 'prepared' : 'barred');
      expect(await testified(transactionId)).toEqual(said === 'commit' ? [false] : []);
    },
  );

  test('then that is known when the branch has long been forgotten', async () => {
    const transactionId = await prepared();
    await ends.force(transactionId, decision);
    await forgetBranches(pool, new Date(Date.now() + 2 * dayMs), 10);
    expect(await branchState(pool, transactionId)).toBeUndefined();
    expect(await noted()).toEqual([{ decision, done: true }]);
  });
});

test('When the checker reads branches, then what an operator may have ended is told as forced, where it matters', async () => {
  const [committed, aborted, barred, agreed, stands] = [
    await prepared(),
    await prepared(),
    await prepared(),
    await prepared(),
    await prepared(),
  ];
  await whileRecordingFails(async () => {
    for (const id of [committed, agreed]) await ends.force(id, 'commit').catch(() => {});
    for (const id of [aborted, barred]) await ends.force(id, 'abort').catch(() => {});
  });
  await ends.force(barred, 'abort');
  await noteForce(pool, stands, 'abort', new Date());
  // Asked for, and it came to the other: nothing that the operator did.
  await noteForce(pool, committed, 'abort', new Date());
  await noteForce(pool, barred, 'commit', new Date());
  const fact = { decision: 'commit', orderIds: [], participants: ['payment'], endedAgeMs: null } as const;
  const transactions = new Map(
    [aborted, barred, agreed, stands].map((transactionId) => [
      transactionId,
      { transactionId, ...fact, decidedAgeMs: 0, due: false },
    ]),
  );
  const readIn = () => async (text: string, values?: unknown[]) => (await pool.query(text, values)).rows;
  const { payment } = await readBranches(readIn as () => Read, { transactions, answers: [] });
  expect(Object.fromEntries([...payment.odd].map(([id, { state }]) => [id, state]))).toEqual({
    [committed]: 'heuristic-commit',
    [aborted]: 'forcing',
    [barred]: 'heuristic-abort',
    [stands]: 'forcing',
  });
  expect(await ends.commit(stands)).toMatchObject({ state: 'ended' });
});

test('When an operator forces what is not there, then nothing is noted', async () => {
  const transactionId = randomUUIDv7();
  for (const decision of decisions) expect(await ends.force(transactionId, decision)).toBeUndefined();
  expect(await noted()).toEqual([]);
  expect(await branchState(pool, transactionId)).toBeUndefined();
});
