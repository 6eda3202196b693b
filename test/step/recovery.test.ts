/** What a coordinator makes of transactions that others left in the log they share: a real log, and no process. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ParticipantName, participantNames } from '#libs/contracts/two-phase.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createDecisionLog } from '#services/coordinator/decision-log.ts';
import type { Participants } from '#services/coordinator/participants.ts';
import { createRecovery, type Recovery } from '#services/coordinator/recovery.ts';
import { eventually } from '../support/eventually.ts';
import { freshDatabase } from '../support/fresh-database.ts';

const [ours, theirs] = ['ours', 'theirs'];
/** Recovery looks once a second, and leaves alone what is younger than two. */
const seenMs = 2_500;
const overMs = 16_000;
let pool: pg.Pool;
let recovery: Recovery | undefined;
let retold: string[];
let told: string[];
/** Does not answer. */
let silent: ParticipantName | undefined;
/** Of ends that are being told to one participant. */
let atOnce: { now: number; most: number };
/** The log has lost decisions, so that nobody is presumed to have aborted. */
let isDoubtful: boolean;
/** It was put back to an older copy after it had been compared. */
let isPutBack: boolean;

beforeAll(async () => {
  const url = await freshDatabase('recovery');
  pool = createPool(url, { name: 'a test', purpose: 'steps', onError: () => {} });
  await migrate(pool, 'services/coordinator/migrations');
});
afterAll(() => pool.end());

beforeEach(async () => {
  await pool.query('truncate transactions');
  [retold, told, silent, atOnce] = [[], [], undefined, { now: 0, most: 0 }];
  [isDoubtful, isPutBack] = [false, false];
});
afterEach(() => recovery?.stop());

const logOf = (coordinator: string) => createDecisionLog({ synced: pool, unsynced: pool }, coordinator);

/** Committed by that coordinator so long ago, and not ended: somebody has not acknowledged. */
async function leave(coordinator: string, agoMs: number, spanId: string | undefined = 'b'.repeat(16)) {
  const transactionId = randomUUID();
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const orders = [{ orderId: randomUUID(), traceparent, ...(spanId ? { spanId } : {}) }];
  const beganAt = new Date(Date.now() - agoMs);
  const begun = { transactionId, orders, beganAt };
  await logOf(coordinator).decide({
    ...begun,
    participants: participantNames,
    decision: 'commit',
    answers: [],
  });
  const decidedAt = `update transactions set decided_at = began_at where transaction_id = $1`;
  await pool.query(decidedAt, [transactionId]);
  return transactionId;
}

const calls = (name: ParticipantName) => {
  const end = async ({ transactionId }: { transactionId: string }) => {
    if (name === silent) throw new Error('no answer');
    if (name !== 'order') return { transactionId, state: 'ended' as const };
    told.push(transactionId);
    atOnce.now += 1;
    atOnce.most = Math.max(atOnce.now, atOnce.most);
    await new Promise((resolve) => setImmediate(resolve));
    atOnce.now -= 1;
    return { transactionId, state: 'ended' as const };
  };
  return { commit: end, abort: end } as unknown as Participants[ParticipantName];
};

/** As a coordinator that has just started: what is older than it, and its own, is its last life's. */
function recover(): void {
  recovery = createRecovery({
    log: logOf(ours ?? ''),
    participants: Object.fromEntries(participantNames.map((name) => [name, calls(name)])) as Participants,
    running: new Set(),
    coordinator: ours ?? '',
    async abortableIn() {
      if (isDoubtful) return undefined;
      return isPutBack ? 'another one' : logOf(ours ?? '').incarnation();
    },
    onRecovered: () => {},
    onTrouble: (error) => {
      throw error;
    },
    retrace: (_orders, _participants, attributes) =>
      retold.push(String(attributes['two_phase.transaction_id'])),
  });
}

const endedOf = async (transactionId: string): Promise<boolean> => {
  const text = 'select ended_at is not null as ended from transactions where transaction_id = $1';
  return (await pool.query(text, [transactionId])).rows[0].ended;
};
const ended = (transactionId: string) => eventually('it is ended', () => endedOf(transactionId));

describe('A transaction that another coordinator has committed', () => {
  test('just now is told at once, and its end and its spans are left to it', async () => {
    const id = await leave(theirs ?? '', seenMs);
    recover();
    await eventually('it is told', () => told.length > 0);
    await new Promise((resolve) => setTimeout(resolve, seenMs));
    expect([told, retold, await endedOf(id)]).toEqual([[id], [], false]);
    // It lives, and has sent its spans: somebody else may note the end.
    await logOf(theirs ?? '').noteTraced({ transactionId: id });
    await ended(id);
    expect(retold).toEqual([]);
  });

  test('longer ago than it may take to tell has lost its coordinator: its spans are told again, once', async () => {
    const id = await leave(theirs ?? '', overMs);
    recover();
    await ended(id);
    expect([told, retold]).toEqual([[id], [id]]);
  });

  test('and traced is not told again, however old it is', async () => {
    const id = await leave(theirs ?? '', overMs);
    await logOf(theirs ?? '').noteTraced({ transactionId: id });
    recover();
    await ended(id);
    expect([told, retold]).toEqual([[id], []]);
  });

  test('and nobody traces is ended by whoever finds it', async () => {
    const id = await leave(theirs ?? '', seenMs, '');
    recover();
    await ended(id);
    expect([told, retold]).toEqual([[id], []]);
  });
});

test('What a coordinator committed in its last life it tells again at once, spans and all', async () => {
  const id = await leave(ours ?? '', seenMs);
  recover();
  await ended(id);
  expect([told, retold]).toEqual([[id], [id]]);
});

test('When one participant does not answer, then it alone is told again, and the end waits for it', async () => {
  silent = 'payment';
  const id = await leave(ours ?? '', seenMs);
  recover();
  await eventually('it is told', () => told.length > 0);
  await new Promise((resolve) => setTimeout(resolve, seenMs));
  expect([told, await endedOf(id)]).toEqual([[id], false]);
  silent = undefined;
  await ended(id);
  expect(told).toEqual([id]);
});

test('What a storm has left is told a few at a time: transactions under way come between', async () => {
  const ids = await Promise.all(Array.from({ length: 60 }, () => leave(ours ?? '', seenMs)));
  recover();
  await Promise.all(ids.map(ended));
  expect(told.sort()).toEqual(ids.sort());
  expect(atOnce.most).toBeGreaterThan(1);
  expect(atOnce.most).toBeLessThanOrEqual(16);
});

test('What stays in doubt does not stand before what is decided, however much of it there is', async () => {
  isDoubtful = true;
  const begun = { orders: [], beganAt: new Date(Date.now() - 2 * overMs) };
  const doubtful = Array.from({ length: 250 }, () => ({ ...begun, transactionId: randomUUID() }));
  await Promise.all(doubtful.map((one) => logOf(ours ?? '').begin(one)));
  const id = await leave(ours ?? '', seenMs);
  recover();
  await ended(id);
  expect(told).toEqual([id]);
  isDoubtful = false;
  await Promise.all(doubtful.map(({ transactionId }) => ended(transactionId)));
});

test('What nobody has decided is not aborted in a log that was put back since it was compared', async () => {
  isPutBack = true;
  const transactionId = randomUUID();
  const log = logOf(ours ?? '');
  await log.begin({ transactionId, orders: [], beganAt: new Date(Date.now() - 2 * overMs) });
  recover();
  expect(await recovery?.decisionOf(transactionId)).toBeUndefined();
  expect((await log.read([transactionId])).get(transactionId)?.decision).toBeNull();
  isPutBack = false;
  expect(await recovery?.decisionOf(transactionId)).toBe('abort');
});
