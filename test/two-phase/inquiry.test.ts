import { randomUUID, randomUUIDv7 } from 'node:crypto';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createDecisionLog } from '#services/coordinator/decision-log.ts';
import { holdings, somebody, system } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask } from '../support/service.ts';
import {
  audit,
  keyed,
  oneOutcomeOf,
  placeIn2pc,
  preparedEverywhere,
  transactionsOf,
} from '../support/two-phase.ts';
import {
  abortAll,
  begun,
  branchOrderOf,
  isPrepared,
  perform,
  stateOf,
  transactionIdAt,
} from '../support/two-phase-by-hand.ts';
import { write } from '../support/write.ts';

afterEach(abortAll);
afterAll(expectInvariants, 120_000);

describe('When a participant asks the coordinator', () => {
  const inquiry = async (transactionId: string) => {
    const answer = await ask('coordinator', 'POST', `/transactions/${transactionId}/inquiry`);
    return { status: answer.status, ...JSON.parse(answer.text) };
  };
  const old = () => transactionIdAt(Date.now() - 60_000);

  test('about a transaction that runs, then it is told to ask again, and later what was decided', async () => {
    const { key, orderId } = keyed();
    const faults = [{ at: 'coordinator.before-decision', do: 'delay', ms: 1_000 } as const];
    const placing = placeIn2pc({ faults }, key);
    const [item] = await preparedEverywhere(orderId);
    const transactionId = item?.transactionId ?? '';
    expect(await inquiry(transactionId)).toMatchObject({ status: 409, code: 'undecided' });
    expect((await placing).status).toBe(201);
    expect(await inquiry(transactionId)).toEqual({ status: 200, transactionId, decision: 'commit' });
    await oneOutcomeOf(orderId);
  });

  test('about one that may yet come, then it is told to ask again', async () => {
    expect(await inquiry(randomUUIDv7())).toMatchObject({ status: 409, code: 'undecided' });
  });

  test('about an old one that nobody began, then it is aborted, and can never be committed', async () => {
    const transactionId = old();
    expect(await inquiry(transactionId)).toEqual({ status: 200, transactionId, decision: 'abort' });
    const url = system.databases.coordinator?.url ?? '';
    const pool = createPool(url, { name: 'a test', purpose: 'steps', onError: () => {} });
    try {
      const log = createDecisionLog({ synced: pool, unsynced: pool }, 'a test');
      const begun = { transactionId, orders: [], beganAt: new Date(), participants: participantNames };
      expect(await log.decide({ ...begun, decision: 'commit', answers: [] })).toBe('abort');
      const [row] = await audit(
        'coordinator',
        'select decision from transactions where transaction_id = $1',
        [transactionId],
      );
      expect(row?.decision).toBe('abort');
    } finally {
      await pool.end();
    }
    expect(await inquiry(transactionId)).toMatchObject({ status: 200, decision: 'abort' });
  });

  test('by itself, because its coordinator is gone, then the branch is rolled back', async () => {
    const who = somebody();
    const before = await holdings(who);
    const transactionId = begun(old());
    const orders = [branchOrderOf({ customerId: who.customerId })];
    const answer = await perform('payment', { transactionId, orders, thenPrepare: true });
    expect(answer.vote).toBe('yes');
    expect(await isPrepared(transactionId, 'payment')).toBe(1);
    await eventually('it is rolled back', async () => (await isPrepared(transactionId, 'payment')) === 0);
    expect(await stateOf('payment', transactionId)).toEqual(['barred']);
    expect(await holdings(who)).toEqual(before);
  });

  test.each(['', 'x', randomUUID().slice(1)])('about %j, then it is a problem', async (id) => {
    const { status } = await inquiry(id);
    expect([400, 404]).toContain(status);
  });
});

describe('F26: When somebody else decides first', () => {
  test('then the coordinator follows, tells everybody so, and tries again', async () => {
    const { key, orderId } = keyed();
    const faults = [{ at: 'coordinator.before-decision', do: 'delay', ms: 1_000 } as const];
    const placing = placeIn2pc({ faults }, key);
    const [item] = await preparedEverywhere(orderId);
    // As another coordinator's recovery does with what it takes for abandoned.
    const taken = await write(
      'coordinator',
      `update transactions set decision = 'abort', decided_at = now()
       where transaction_id = $1 and decision is null returning transaction_id`,
      [item?.transactionId],
    );
    expect(taken).toHaveLength(1);
    const answer = await placing;
    expect(answer.status, answer.text).toBe(201);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    const decisions = (await transactionsOf(orderId)).map(({ decision }) => decision);
    expect(decisions).toEqual(['abort', 'commit']);
  });
});
