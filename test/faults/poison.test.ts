/** What can never be handled, what fails and is then healed, and an undo that fails: F29 and F32. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DeadLetter, StuckUndo } from '#libs/contracts/dead-letters.ts';
import { deadLetterStream } from '#libs/nats/streams.ts';
import {
  cancel,
  endOf,
  get,
  holdings,
  orderOf,
  place,
  somebody,
  stepOf,
  timelineOf,
} from '../support/api.ts';
import { type Bus, openBus } from '../support/bus.ts';
import { labCommand } from '../support/command-line.ts';
import { killPart, labReady } from '../support/control.ts';
import { deadLetters, discard, letterOfOrder, poison, replay } from '../support/dead-letters.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric, query } from '../support/service.ts';

const slowMs = 120_000;
let bus: Bus;
beforeAll(async () => {
  bus = await openBus();
});
afterEach(() => bus.clean());
afterAll(async () => {
  await bus.close();
  await expectInvariants();
});

const stuckOf = async (orderId: string) =>
  (await get<{ items: StuckUndo[] }>('/api/stuck')).items.find((undo) => undo.orderId === orderId);

describe('F29: A step that fails every time, because of its service', () => {
  test('is set aside with its error, and goes on to the end of its order once it is replayed', {
    timeout: slowMs,
  }, async () => {
    const who = somebody();
    const before = await holdings(who);
    const poisoned = await poison('payment', 'payments', `customer_id <> '${who.customerId}'`);
    const { orderId, traceId } = await place({
      customerId: who.customerId,
      items: [{ dishId: who.dishId, quantity: 1 }],
    });
    const others = await place();
    expect(await endOf(others.orderId)).toMatchObject({ status: 'DISPATCHED' });

    // A restart in between uses no attempt up, and forgets none.
    await eventually('it fails', async () => {
      const [row] = await query<{ attempts: number }>(
        'payment',
        `select attempts from failures where order_id = '${orderId}'`,
      );
      return row && row.attempts >= 3;
    });
    await killPart('payment');
    await labReady();
    const item = await letterOfOrder(orderId);
    expect(item).toMatchObject({
      service: 'payment',
      state: 'open',
      attempts: 8,
      reason: expect.stringContaining(poisoned.name),
      step: 'payment.charge',
      subject: 'order.placement.requested',
      traceId,
    });
    const letter = await get<DeadLetter>(`/api/dead-letters/${item.id}`);
    expect(letter.headers).toMatchObject({ 'Nats-Msg-Id': letter.messageId });
    expect(JSON.parse(letter.body)).toMatchObject([{ subject: orderId, type: 'order.placement.requested' }]);
    expect(await orderOf(orderId)).toMatchObject({ status: 'PENDING' });
    expect(await metric('payment', /^saga_dead_letters_open/)).toBe(1);

    // Nothing has been removed: it fails again, visibly.
    const again = await replay(item.id);
    expect([again.status, again.body.code]).toEqual([409, 'replay-failed']);
    expect(again.body.detail).toContain(poisoned.name);
    expect(await get(`/api/dead-letters/${item.id}`)).toMatchObject({ state: 'open', attempts: 9 });

    await poisoned.heal();
    const answers = await Promise.all([replay(item.id), replay(item.id), replay(item.id)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.flatMap(({ body }) => body.effects).sort()).toEqual(['applied', 'repeat', 'repeat']);
    expect(await endOf(orderId)).toMatchObject({ status: 'DISPATCHED' });
    const after = await holdings(who);
    expect(before.balance - after.balance).toBe((await orderOf(orderId)).total);
    const charges = (await timelineOf(orderId)).filter(({ step }) => step === 'payment.charge');
    expect(charges).toMatchObject([{ outcome: 'done', attempt: 10 }]);
    expect(await deadLetters(`?state=open&service=payment`)).toEqual([]);
    expect((await discard(item.id)).body.code).toBe('letter-replayed');
  });

  test('of an order that was cancelled meanwhile is barred when it is replayed', {
    timeout: slowMs,
  }, async () => {
    const who = somebody();
    const before = await holdings(who);
    const poisoned = await poison('payment', 'payments', `customer_id <> '${who.customerId}'`);
    const { orderId } = await place({ customerId: who.customerId });
    const { id } = await letterOfOrder(orderId);
    expect((await cancel(orderId)).status).toBe(202);
    expect(await endOf(orderId)).toMatchObject({ status: 'CANCELLED' });
    await poisoned.heal();
    const { status, body } = await replay(id);
    expect([status, body.state, body.effects]).toEqual([200, 'replayed', ['repeat']]);
    expect(await orderOf(orderId)).toMatchObject({ status: 'CANCELLED' });
    expect(await holdings(who)).toEqual(before);
  });

  test('is told to the dead-letter stream too, with its trace', async () => {
    const messageId = randomUUID();
    const body = `no JSON ${messageId}`;
    await bus.publish('payment.completed', body, messageId);
    const letter = await eventually('the letter', async () =>
      (await deadLetters('?service=inventory')).find((each) => each.messageId === messageId),
    );
    const stored = await eventually('the message', async () => {
      const { state } = await bus.manager.streams.info(deadLetterStream);
      const last = await bus.manager.streams.getMessage(deadLetterStream, { seq: state.last_seq });
      return last?.string() === body && last;
    });
    expect(stored.subject).toBe('dead-letter.inventory');
    expect(stored.header.get('Saga-Letter')).toBe(letter.id);
    expect(stored.header.get('Saga-Original-Nats-Msg-Id')).toBe(messageId);
    expect((await discard(letter.id)).body).toMatchObject({ state: 'discarded' });
  });
});

test('F29: A message as large as the broker takes is kept whole, and told to the stream in short', async () => {
  const messageId = randomUUID();
  const body = `["${'ß'.repeat(450_000)}"]`;
  await bus.publish('payment.completed', body, messageId);
  const { id } = await eventually('the letter', async () =>
    (await deadLetters('?service=inventory')).find((each) => each.messageId === messageId),
  );
  expect((await get<DeadLetter>(`/api/dead-letters/${id}`)).body).toBe(body);
  await eventually('the stream has it', async () => {
    const { state } = await bus.manager.streams.info(deadLetterStream);
    const last = await bus.manager.streams.getMessage(deadLetterStream, { seq: state.last_seq });
    return last?.header.get('Saga-Letter') === id && last.string().length < 100_000;
  });
  await discard(id);
});

describe('F32: An undo that fails every time', () => {
  test('is shown as stuck, is not set aside, and ends its order when it is healed', {
    timeout: slowMs,
  }, async () => {
    const who = somebody();
    const before = await holdings(who);
    const { orderId, traceId } = await place({
      customerId: who.customerId,
      faults: [
        { at: 'logistics.assign', do: 'refuse' },
        { at: 'payment.refund', do: 'error', times: 9 },
      ],
    });
    await stepOf(orderId, 'inventory.release');
    const stuck = await eventually('it is stuck', () => stuckOf(orderId), 40_000);
    expect(stuck).toMatchObject({
      service: 'payment',
      step: 'payment.refund',
      attempts: 8,
      reason: 'injected error at payment.refund',
      traceId,
    });
    expect(Date.parse(stuck.firstAt)).toBeLessThan(Date.parse(stuck.lastAt));
    expect(await metric('payment', /^saga_undos_stuck/)).toBe(1);
    expect((await deadLetters()).filter((letter) => letter.orderId === orderId)).toEqual([]);
    const others = await place();
    expect(await endOf(others.orderId)).toMatchObject({ status: 'DISPATCHED' });
    const shown = await labCommand('dead-letters');
    expect(shown.out).toContain(orderId);

    expect(await endOf(orderId, 60_000)).toMatchObject({ status: 'CANCELLED' });
    expect(await holdings(who)).toEqual(before);
    expect(await stuckOf(orderId)).toBeUndefined();
    expect(await query('payment', `select 1 from failures where order_id = '${orderId}'`)).toEqual([]);
  });
});
