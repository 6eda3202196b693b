import { randomUUIDv7 } from 'node:crypto';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import { gidOf } from '#libs/contracts/two-phase.ts';
import { holdings, somebody, system } from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants, invariants, violated } from '../support/invariants.ts';
import { chargeAfterAll, whileRecordsWait } from '../support/operator.ts';
import {
  allOfIt,
  hold,
  inDoubtOf,
  nothingOfIt,
  oneOutcomeOf,
  placeIn2pc,
  resolve,
  settled,
  standingOf,
} from '../support/two-phase.ts';
import {
  abort,
  abortAll,
  begun,
  branchOrderOf,
  commit,
  forgetAssignment,
  isPrepared,
  perform,
  stateOf,
} from '../support/two-phase-by-hand.ts';
import { write } from '../support/write.ts';

afterEach(abortAll);
afterAll(expectInvariants, 120_000);

describe('F21, T7: When somebody asks for a branch to be ended', () => {
  const token = () => readAdminToken(system.home);

  test('that has been decided, then it is ended as it was decided, and that may be asked twice', async () => {
    const { body } = await placeIn2pc({ customerId: somebody().customerId });
    const [transaction] = await settled(body.orderId);
    const gid = gidOf(transaction?.transactionId ?? '', 'payment');
    for (const bodyless of [undefined, {}]) {
      const answer = await resolve(gid, bodyless);
      expect([answer.status, answer.body]).toEqual([200, { gid, decision: 'commit', by: 'coordinator' }]);
    }
    expect(await standingOf(body.orderId)).toEqual(allOfIt);
  });

  test('with a heuristic, but without the token or the confirmation, then nothing happens', async () => {
    const held = await hold({ ...somebody(), ms: 1_500 });
    const gid = held.gid('logistics');
    const forced = { heuristic: 'abort', confirm: gid };
    const cases: [object, string | undefined, number, string][] = [
      [forced, undefined, 403, 'admin-token-required'],
      [forced, 'x', 403, 'admin-token-required'],
      [forced, token().replace(/^./, (first) => (first === '0' ? '1' : '0')), 403, 'admin-token-required'],
      [{ heuristic: 'abort' }, token(), 422, 'confirmation-differs'],
      [{ heuristic: 'abort', confirm: held.gid('payment') }, token(), 422, 'confirmation-differs'],
      [{ heuristic: 'perhaps', confirm: gid }, token(), 400, 'invalid-request'],
    ];
    for (const [body, by, status, code] of cases) {
      const answer = await resolve(gid, body, by);
      expect([answer.status, answer.body.code], JSON.stringify(body)).toEqual([status, code]);
    }
    expect(await inDoubtOf(held.orderId)).toHaveLength(4);
    expect((await held.answered).status).toBe(201);
    expect(await oneOutcomeOf(held.orderId)).toBe('commit');
  });

  test.each([
    ['2pc:nothing:payment', 'no gid of ours'],
    [gidOf('01890000-0000-7000-8000-000000000000', 'notification'), 'nobody who takes part'],
  ])('%s, which is %s, then there is nothing', async (gid) => {
    const forced = { heuristic: 'abort', confirm: gid };
    const answers = [await resolve(gid), await resolve(gid, forced, token())];
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(Array(2).fill([404, 'not-found']));
  });

  test('that is not prepared, with all that is needed, then there is nothing', async () => {
    const gid = gidOf('01890000-0000-7000-8000-000000000001', 'payment');
    const answer = await resolve(gid, { heuristic: 'commit', confirm: gid }, token());
    expect([answer.status, answer.body.code]).toEqual([404, 'not-found']);
  });

  test('as the coordinator then decides, then nothing is violated', async () => {
    const held = await hold({ ...somebody(), ms: 1_500 });
    const gid = held.gid('inventory');
    const answer = await resolve(gid, { heuristic: 'commit', confirm: gid }, token());
    expect([answer.status, answer.body]).toEqual([200, { gid, decision: 'commit', by: 'operator' }]);
    expect((await standingOf(held.orderId)).inventory).toBe('reserved');
    expect((await held.answered).status).toBe(201);
    expect(await oneOutcomeOf(held.orderId)).toBe('commit');
    await expectInvariants();
  });

  test('against what the coordinator then decides, then the checker tells', async () => {
    const who = somebody();
    const before = await holdings(who);
    const held = await hold({ ...who, ms: 1_500 });
    const gid = held.gid('payment');
    const answer = await resolve(gid, { heuristic: 'abort', confirm: gid }, token());
    expect([answer.status, answer.body]).toEqual([200, { gid, decision: 'abort', by: 'operator' }]);
    expect(await inDoubtOf(held.orderId)).toHaveLength(3);
    // The money is free again at once, and the others do not know it.
    expect((await holdings(who)).balance).toBe(before.balance);
    const told = await held.answered;
    expect([told.status, told.body.status]).toEqual([201, 'DISPATCHED']);
    const [transaction] = await settled(held.orderId);
    expect(transaction?.decision).toBe('commit');
    expect(await standingOf(held.orderId)).toEqual({ ...allOfIt, payment: null });
    const contradicted = await resolve(gid);
    expect([contradicted.status, contradicted.body.code]).toEqual([409, 'ended-otherwise']);
    try {
      const found = violated(await invariants());
      expect(found.map(({ id }) => id)).toContain('I8');
      const detail = `an operator forced the abort of payment's branch of transaction ${held.transactionId}`;
      expect(found.find(({ id }) => id === 'I8')?.violations).toEqual([
        { orderId: held.orderId, detail: expect.stringContaining(detail) },
      ]);
    } finally {
      await chargeAfterAll(held, told.body);
    }
    await expectInvariants();
  });

  test('and the participant is killed between the end and its record, then the checker tells all the same', async () => {
    const held = await hold({ ...somebody(), ms: 4_000 });
    const gid = held.gid('payment');
    const forced = { heuristic: 'abort', confirm: gid };
    await whileRecordsWait('payment', async (isWaiting) => {
      const answer = resolve(gid, forced, token());
      await eventually('the branch has ended, and its record waits', isWaiting);
      await killPart('payment');
      expect((await answer).status).toBe(503);
      // The database does not notice at once that nobody waits for it any more.
      await eventually('the record is given up', async () => !(await isWaiting()));
    });
    await labReady();
    const told = await held.answered;
    expect([told.status, told.body.status]).toEqual([201, 'DISPATCHED']);
    await settled(held.orderId);
    expect(await stateOf('payment', held.transactionId)).toEqual([]);
    try {
      // Whoever got no answer asks again; and what the coordinator decides does not end what has ended otherwise.
      const again = await resolve(gid, forced, token());
      expect([again.status, again.body]).toEqual([200, { gid, decision: 'abort', by: 'operator' }]);
      const asked = await resolve(gid);
      expect([asked.status, asked.body.code]).toEqual([409, 'ended-otherwise']);
      const detail = `an operator forced the abort of payment's branch of transaction ${held.transactionId}`;
      expect(violated(await invariants()).find(({ id }) => id === 'I8')?.violations).toEqual([
        { orderId: held.orderId, detail: expect.stringContaining(detail) },
      ]);
    } finally {
      await chargeAfterAll(held, told.body);
    }
    await expectInvariants();
  });

  test('and commits it against the log, then the checker tells', async () => {
    const held = await hold({ ...somebody(), ms: 20_000 });
    const gid = held.gid('logistics');
    expect((await resolve(gid, { heuristic: 'commit', confirm: gid }, token())).status).toBe(200);
    // Nobody is left who would commit: the last life's transaction is aborted.
    await killPart('coordinator');
    expect((await held.answered).status).toBe(503);
    await labReady();
    expect((await settled(held.orderId)).map(({ decision }) => decision)).toEqual(['abort']);
    expect(await standingOf(held.orderId)).toEqual({ ...nothingOfIt, logistics: 'assigned' });
    try {
      const detail = `an operator forced the commit of logistics's branch of transaction ${held.transactionId}`;
      const found = violated(await invariants()).find(({ id }) => id === 'I8');
      expect(found?.violations[0]?.detail).toContain(detail);
    } finally {
      const { orderId, transactionId } = held;
      await write('logistics', 'delete from assignments where order_id = $1', [orderId]);
      await write('logistics', 'delete from journal where order_id = $1', [orderId]);
      await write('logistics', 'delete from branches where transaction_id = $1', [transactionId]);
    }
    await expectInvariants();
  });
});

describe('When a participant is told by an operator to end its branch', () => {
  test('then what the coordinator tells it later contradicts, or has ended already', async () => {
    const force = async (transactionId: string, decision: string, token?: string) => {
      const response = await fetch(`http://127.0.0.1:${system.portBase + 4}/two-phase/force`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(token ? { authorization: `Bearer ${token}` } : {}),
        },
        body: JSON.stringify({ transactionId, decision }),
      });
      await response.body?.cancel();
      return response.status;
    };
    const token = readAdminToken(system.home);
    const orders = [branchOrderOf(), branchOrderOf()];
    const [aborted, committed] = [begun(), randomUUIDv7()];
    for (const [index, transactionId] of [aborted, committed].entries()) {
      const body = { transactionId, orders: [orders[index]], thenPrepare: true };
      expect(await perform('logistics', body)).toMatchObject({ vote: 'yes' });
    }
    try {
      expect(await force(aborted, 'abort')).toBe(403);
      expect(await force(aborted, 'abort', token.replace(/./g, '0'))).toBe(403);
      expect(await isPrepared(aborted, 'logistics')).toBe(1);
      expect(await force(aborted, 'abort', token)).toBe(200);
      expect(await force(aborted, 'abort', token)).toBe(200);
      expect(await force(aborted, 'commit', token)).toBe(404);
      expect(await stateOf('logistics', aborted)).toEqual(['heuristic-abort']);
      expect(await commit('logistics', aborted)).toEqual({ transactionId: aborted, state: 'contradicts' });
      expect(await abort('logistics', aborted)).toEqual({ transactionId: aborted, state: 'ended' });

      expect(await force(committed, 'commit', token)).toBe(200);
      expect(await stateOf('logistics', committed)).toEqual(['heuristic-commit']);
      expect(await abort('logistics', committed)).toEqual({ transactionId: committed, state: 'contradicts' });
      expect(await commit('logistics', committed)).toEqual({ transactionId: committed, state: 'ended' });
    } finally {
      await forgetAssignment(committed, orders[1]?.orderId ?? '');
      await forgetAssignment(aborted, orders[0]?.orderId ?? '');
    }
  });
});
