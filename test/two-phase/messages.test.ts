import { randomUUIDv7 } from 'node:crypto';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { endOf, holdings, place, somebody, stepOf } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask } from '../support/service.ts';
import {
  allOfIt,
  firedAt,
  nothingOfIt,
  oneOutcomeOf,
  preparedGids,
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
  prepare,
  stateOf,
} from '../support/two-phase-by-hand.ts';
import { write } from '../support/write.ts';

afterEach(abortAll);
afterAll(expectInvariants, 120_000);

describe('T6: When a participant is told the same thing twice', () => {
  test('to perform and prepare, then it prepares once and answers the same', async () => {
    const who = somebody();
    const before = await holdings(who);
    const transactionId = begun();
    const order = branchOrderOf({ customerId: who.customerId, total: 5_000 });
    const body = { transactionId, orders: [order], thenPrepare: true };
    const [first, second] = await Promise.all([perform('payment', body), perform('payment', body)]);
    const third = await perform('payment', body);
    expect(first).toMatchObject({ transactionId, refusals: [], vote: 'yes' });
    expect([second, third]).toEqual([first, first]);
    expect(await isPrepared(transactionId, 'payment')).toBe(1);
    expect(await abort('payment', transactionId)).toEqual({ transactionId, state: 'ended' });
    expect(await holdings(who)).toEqual(before);
  });

  test('first to perform, then twice to prepare, then it prepares once', async () => {
    const transactionId = begun();
    const body = { transactionId, orders: [branchOrderOf()], thenPrepare: false };
    const performed = await perform('logistics', body);
    expect(performed).toMatchObject({ refusals: [] });
    expect(performed.vote).toBeUndefined();
    expect(await isPrepared(transactionId, 'logistics')).toBe(0);
    const [one, other] = await Promise.all([
      prepare('logistics', transactionId),
      prepare('logistics', transactionId),
    ]);
    expect(one.vote).toBe('yes');
    expect([other, await prepare('logistics', transactionId)]).toEqual([one, one]);
    expect(await isPrepared(transactionId, 'logistics')).toBe(1);
  });

  test('to abort, then it has ended, and nothing is left', async () => {
    const transactionId = begun();
    const orders = [branchOrderOf()];
    expect(await perform('inventory', { transactionId, orders, thenPrepare: true })).toMatchObject({
      vote: 'yes',
    });
    const ended = { transactionId, state: 'ended' };
    expect(await abort('inventory', transactionId)).toEqual(ended);
    expect(await abort('inventory', transactionId)).toEqual(ended);
    expect(await isPrepared(transactionId, 'inventory')).toBe(0);
    expect(await stateOf('inventory', transactionId)).toEqual(['barred']);
    expect(await commit('inventory', transactionId)).toEqual({ transactionId, state: 'contradicts' });
  });

  test('to commit, then it has ended, and took effect once', async () => {
    const who = somebody();
    const before = await holdings(who);
    const transactionId = randomUUIDv7();
    const items = [{ dishId: who.dishId, quantity: 2 }];
    const order = branchOrderOf({ customerId: who.customerId, items, total: 16_000 });
    const votes = participantNames.map((name) =>
      perform(name, { transactionId, orders: [order], thenPrepare: true }),
    );
    expect((await Promise.all(votes)).map(({ vote }) => vote)).toEqual(['yes', 'yes', 'yes', 'yes']);
    // The test is the coordinator: what it decides stands in the log, as it must.
    const orders = JSON.stringify([{ orderId: order.orderId, traceparent: order.traceparent }]);
    await write(
      'coordinator',
      `insert into transactions (transaction_id, orders, participants, coordinator, began_at, decision, decided_at)
       values ($1, $2, $3, 'a test', now(), 'commit', now())`,
      [transactionId, orders, participantNames],
    );
    const ended = { transactionId, state: 'ended' };
    for (const name of participantNames) {
      expect(await commit(name, transactionId)).toEqual(ended);
      expect(await commit(name, transactionId)).toEqual(ended);
      expect(await abort(name, transactionId)).toEqual({ transactionId, state: 'contradicts' });
      const late = await perform(name, { transactionId, orders: [order], thenPrepare: true });
      expect(late).toMatchObject({ vote: 'no', failure: expect.stringContaining('before') });
    }
    expect(await oneOutcomeOf(order.orderId)).toBe('commit');
    expect(await holdings(who)).toEqual({
      balance: before.balance - 16_000,
      stock: { free: before.stock.free - 2, reserved: before.stock.reserved + 2 },
    });
    await stepOf(order.orderId, 'notification.notify-dispatched');
  });

  test('to commit at once, then it commits once, whoever is told so', async () => {
    const transactionId = begun();
    const order = branchOrderOf();
    await perform('logistics', { transactionId, orders: [order], thenPrepare: true });
    try {
      const answers = await Promise.all([1, 2, 3].map(() => commit('logistics', transactionId)));
      // One may find the prepared transaction busy in another session: it is to ask again.
      const states = answers.map(({ state }) => state);
      expect(states).toContain('ended');
      expect(states).not.toContain('contradicts');
      expect(await commit('logistics', transactionId)).toEqual({ transactionId, state: 'ended' });
      expect((await standingOf(order.orderId)).logistics).toBe('assigned');
    } finally {
      await forgetAssignment(transactionId, order.orderId);
    }
  });
});

describe('T5: When a message comes too late', () => {
  test('to prepare, after the abort, then the vote is no, and nothing is prepared', async () => {
    const transactionId = begun();
    await perform('payment', { transactionId, orders: [branchOrderOf()], thenPrepare: false });
    expect(await abort('payment', transactionId)).toEqual({ transactionId, state: 'ended' });
    expect(await prepare('payment', transactionId)).toMatchObject({ vote: 'no' });
    expect(await isPrepared(transactionId, 'payment')).toBe(0);
  });

  test.each(participantNames)(
    'to %s, after an abort of what it never heard of, then it is barred',
    async (name) => {
      const transactionId = begun();
      const order = branchOrderOf();
      expect(await abort(name, transactionId)).toEqual({ transactionId, state: 'ended' });
      expect(await stateOf(name, transactionId)).toEqual(['barred']);
      for (const thenPrepare of [true, false]) {
        const answer = await perform(name, { transactionId, orders: [order], thenPrepare });
        expect(answer).toMatchObject({ vote: 'no', failure: expect.stringContaining('barred before') });
      }
      expect(await prepare(name, transactionId)).toMatchObject({ vote: 'no' });
      expect(await isPrepared(transactionId, name)).toBe(0);
      expect(await standingOf(order.orderId)).toEqual(nothingOfIt);
    },
  );

  test('an abort that meets the branch while it is slow, then it is not prepared any more', async () => {
    const transactionId = begun();
    const at = 'payment.charge.before-prepare';
    const before = await firedAt('payment', at, 'delay');
    const orders = [branchOrderOf({ faults: `${at}=delay:800` })];
    const performing = perform('payment', { transactionId, orders, thenPrepare: true });
    await eventually('it is slow', async () => (await firedAt('payment', at, 'delay')) === before + 1);
    const aborting = abort('payment', transactionId);
    expect(await performing).toMatchObject({ vote: 'no', failure: 'told to abort meanwhile' });
    expect(await aborting).toEqual({ transactionId, state: 'ended' });
    expect(await isPrepared(transactionId, 'payment')).toBe(0);
    expect(await stateOf('payment', transactionId)).toEqual(['barred']);
  });

  test('a branch of an order that the saga has placed, then it is refused', async () => {
    const { orderId } = await endOf((await place()).orderId);
    const transactionId = begun();
    const orders = [branchOrderOf({ orderId })];
    expect(await perform('payment', { transactionId, orders, thenPrepare: true })).toMatchObject({
      vote: 'no',
      refusals: [{ orderId, reason: 'this order was placed before' }],
    });
    expect(await isPrepared(transactionId, 'payment')).toBe(0);
    expect(await standingOf(orderId)).toEqual(allOfIt);
  });
});

describe('When a participant is told to end what it does not have', () => {
  test.each(participantNames)('%s does not call a commit ended that it never prepared', async (name) => {
    const { state } = await commit(name, randomUUIDv7());
    expect(state).not.toBe('ended');
  });
});

describe('When a message fits no schema', () => {
  const transactionId = randomUUIDv7();
  const order = branchOrderOf();
  const performs = (over: object) => ({
    commands: [{ transactionId, orders: [order], thenPrepare: true, ...over }],
  });
  test.each<[string, unknown]>([
    ['perform', {}],
    ['perform', { commands: [] }],
    ['perform', performs({ transactionId: 'x' })],
    ['perform', performs({ orders: [] })],
    ['perform', performs({ orders: Array(101).fill(order) })],
    ['perform', performs({ hurry: true })],
    ['perform', performs({ orders: [{ ...order, total: -1 }] })],
    ['perform', performs({ orders: [{ ...order, traceparent: 'x' }] })],
    ['prepare', { commands: [{ transactionId }] }],
    ['commit', { commands: [{ transactionId: `${transactionId}'; drop table orders` }] }],
    ['abort', { commands: [{}] }],
    ['abort', null],
  ])('to %s: %j, then it is a problem, and nothing is done', async (verb, body) => {
    for (const name of participantNames) {
      const answer = await ask(name, 'POST', `/two-phase/${verb}`, JSON.stringify(body));
      expect([answer.status, JSON.parse(answer.text).code]).toEqual([400, 'invalid-request']);
    }
    expect(await preparedGids()).toEqual([]);
  });
});
