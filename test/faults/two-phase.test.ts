/** Errors and hangs at the points of two-phase commit, and at the HTTP surface that it stands on. */
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { call, endOf, orderBody, type ProblemBody, place } from '../support/api.ts';
import { labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { heal, hitsOf, placePlanned, plan, setFaults } from '../support/set-faults.ts';
import {
  firedAt,
  inDoubtOf,
  keyed,
  killsOf,
  oneOutcomeOf,
  placeIn2pc,
  preparedEverywhere,
} from '../support/two-phase.ts';

afterEach(heal);
afterAll(expectInvariants);

describe('When a participant fails around its vote', () => {
  test.each(['payment.charge.before-prepare', 'payment.charge.after-prepare'])(
    'at %s, then that attempt is aborted everywhere and the next one stands',
    async (at) => {
      const { key, orderId } = keyed();
      const before = await firedAt('payment', at, 'error');
      const answer = await placeIn2pc({ faults: [{ at, do: 'error' }] }, key);
      expect([answer.status, answer.body.status]).toEqual([201, 'DISPATCHED']);
      expect(await firedAt('payment', at, 'error')).toBe(before + 1);
      expect(await oneOutcomeOf(orderId)).toBe('commit');
    },
  );
});

describe('T4: When the coordinator hangs after the votes', () => {
  test('then all participants stay in doubt until it is healed', async () => {
    const { key, orderId } = keyed();
    await setFaults({ id: 'h', at: 'coordinator.before-decision', do: 'hang', scope: { orderId } });
    const answered = placeIn2pc({}, key);
    expect(await preparedEverywhere(orderId)).toHaveLength(4);
    expect(await hitsOf('h')).toBe(1);
    await heal();
    expect((await answered).status).toBe(201);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    expect(await inDoubtOf(orderId)).toEqual([]);
  });
});

describe('T3: When a participant hangs before it commits', () => {
  test('then its branch alone is in doubt, and is told again once it is healed', async () => {
    const { key, orderId } = keyed();
    const at = 'inventory.reserve.before-commit-prepared';
    await setFaults({ id: 'b', at, do: 'hang', scope: { orderId } });
    const answered = placeIn2pc({}, key);
    await eventually('only inventory is in doubt', async () => {
      const services = (await inDoubtOf(orderId)).map(({ service }) => service);
      return (await hitsOf('b')) !== 0 && services.join() === 'inventory';
    });
    await heal();
    expect((await answered).status).toBe(201);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
  });
});

describe('When the order service refuses requests', () => {
  test('then an order is not taken, and nothing has happened, until the fault has ended', async () => {
    const one = plan();
    await setFaults({ id: 'e', at: 'order.http', do: 'error', hitsMax: 1 });
    const headers = { 'idempotency-key': one.key };
    const answer = await call<ProblemBody>('POST', '/api/orders', { body: orderBody(), headers });
    expect([answer.status, answer.body.code]).toEqual([503, 'service-unavailable']);
    expect((await call('GET', `/api/orders/${one.orderId}`)).status).toBe(404);
    expect(await hitsOf('e')).toBe(1);
    await placePlanned(one, {});
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
  });

  test('then a crash there costs the request and no order', async () => {
    const one = plan();
    const kills = killsOf('order');
    await setFaults({ id: 'c', at: 'order.http', do: 'crash', hitsMax: 1 });
    await placePlanned(one, {});
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect([await hitsOf('c'), killsOf('order')]).toEqual([1, kills + 1]);
    await labReady();
  });
});

describe('When a participant refuses requests', () => {
  test('then two-phase commit aborts, and a saga does not notice', async () => {
    await setFaults({ id: 'p', at: 'logistics.http', do: 'error' });
    const { key, orderId } = keyed();
    const answer = await placeIn2pc({}, key);
    expect([answer.status, answer.body.code]).toEqual([503, 'transaction-aborted']);
    const saga = await place();
    expect(await endOf(saga.orderId)).toMatchObject({ status: 'DISPATCHED' });
    await heal();
    expect((await placeIn2pc({}, key)).status).toBe(201);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
  });
});

describe('When a fault cannot be at the HTTP surface', () => {
  test('then the scope of an order is refused, and so is an order that carries it', async () => {
    const fault = { at: 'order.http', do: 'error' } as const;
    const scoped = { items: [{ ...fault, scope: { customerId: 'asha' } }] };
    const set = await call<ProblemBody>('PUT', '/api/faults', { body: scoped });
    expect([set.status, set.body.code]).toEqual([422, 'unknown-fault-point']);
    const carried = await call<ProblemBody>('POST', '/api/orders', { body: orderBody({ faults: [fault] }) });
    expect([carried.status, carried.body.code]).toEqual([422, 'unknown-fault-point']);
  });
});
