/** Who decides a transaction that another has decided, and which answers are kept with it: a real log. */
import { randomUUID, randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Decision, participantNames } from '#libs/contracts/two-phase.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { type AnswerRow, createDecisionLog, type DecisionLog } from '#services/coordinator/decision-log.ts';
import { eventually } from '../support/eventually.ts';
import { freshDatabase } from '../support/fresh-database.ts';

let url: string;
let pool: pg.Pool;
let ours: DecisionLog;
let theirs: DecisionLog;

beforeAll(async () => {
  url = await freshDatabase('decision_log');
  pool = createPool(url, { name: 'a test', purpose: 'steps', onError: () => {} });
  await migrate(pool, 'services/coordinator/migrations');
  const pools = { synced: pool, unsynced: pool };
  [ours, theirs] = [createDecisionLog(pools, 'ours'), createDecisionLog(pools, 'theirs')];
});
afterAll(() => pool.end());

/** A transaction of one order under a key, and what the log is told about it. */
function keyedOrder(orderId: string = randomUUID()) {
  const transactionId = randomUUIDv7();
  const begun = { transactionId, orders: [], beganAt: new Date(), participants: participantNames };
  const answerOf = (outcome: AnswerRow['outcome']): AnswerRow => ({
    orderId,
    transactionId,
    outcome,
    reason: outcome === 'refused' ? 'insufficient funds' : null,
    bodyHash: 'a hash',
    attempt: 2,
    answer: {} as AnswerRow['answer'],
  });
  const verdict = (decision: Decision) => ({
    ...begun,
    decision,
    answers: [answerOf(decision === 'commit' ? 'done' : 'refused')],
  });
  return {
    orderId,
    transactionId,
    begun,
    verdict,
    abandoned: { ...begun, decision: 'abort' as const, answers: [] },
    told: async () => (await ours.recall(orderId))?.outcome,
  };
}

describe('When another coordinator has aborted a transaction', () => {
  test('then the refusal of its order is kept all the same, and a repeat finds it', async () => {
    const { begun, verdict, abandoned, orderId } = keyedOrder();
    await ours.begin(begun);
    expect(await theirs.decide(abandoned)).toBe('abort');
    expect(await ours.decide(verdict('abort'))).toBe('abort');
    expect(await theirs.recall(orderId)).toEqual(verdict('abort').answers[0]);
  });

  test('while ours was on its way, then the refusal is kept as well', async () => {
    const { begun, verdict, told, transactionId } = keyedOrder();
    await ours.begin(begun);
    const other = new pg.Client({ connectionString: url });
    await other.connect();
    await other.query('begin');
    const abort = `update transactions set decision = 'abort', decided_at = now() where transaction_id = $1`;
    await other.query(abort, [transactionId]);
    const deciding = ours.decide(verdict('abort'));
    await eventually('ours waits for theirs', async () => {
      const waiting = `select from pg_locks where not granted and locktype = 'transactionid'`;
      return (await pool.query(waiting)).rowCount === 1;
    });
    await other.query('commit');
    await other.end();
    expect(await deciding).toBe('abort');
    expect(await told()).toBe('refused');
  });

  test('then ours is told so, and its commit leaves no answer', async () => {
    const { begun, verdict, abandoned, transactionId, told } = keyedOrder();
    await ours.begin(begun);
    await theirs.decide(abandoned);
    const before = (await ours.read([transactionId])).get(transactionId);
    expect(await ours.decide(verdict('commit'))).toBe('abort');
    expect((await ours.read([transactionId])).get(transactionId)).toEqual(before);
    expect(await told()).toBeUndefined();
  });
});

describe('When a transaction is presumed aborted', () => {
  test('then the log that this was found out of takes it, and an older copy of it does not', async () => {
    const { begun, abandoned, transactionId } = keyedOrder();
    await ours.begin(begun);
    const elsewhere = keyedOrder();
    const decisions = await Promise.all([
      ours.decide({ ...abandoned, incarnation: 'before it was put back' }),
      ours.decide(elsewhere.abandoned),
    ]);
    expect(decisions).toEqual([undefined, 'abort']);
    expect((await ours.read([transactionId])).get(transactionId)).toMatchObject({ decision: null });
    expect(await ours.decide({ ...abandoned, incarnation: await ours.incarnation() })).toBe('abort');
  });
});

describe('When a decision is told twice, because its answer was lost', () => {
  test.each(['commit', 'abort'] as const)(
    '(%s), then it stands, and so does its answer',
    async (decision) => {
      const { verdict, told } = keyedOrder();
      expect(await ours.decide(verdict(decision))).toBe(decision);
      expect(await ours.decide(verdict(decision))).toBe(decision);
      expect(await told()).toBe(decision === 'commit' ? 'done' : 'refused');
    },
  );
});

test('When an order stands that another of its transactions was refused for, then it is told as done', async () => {
  const first = keyedOrder();
  const second = keyedOrder(first.orderId);
  await theirs.decide(first.verdict('commit'));
  await theirs.decide(second.abandoned);
  await ours.decide(second.verdict('abort'));
  expect(await first.told()).toBe('done');
});
