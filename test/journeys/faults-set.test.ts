import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import type { Fault } from '#libs/faults/fault.ts';
import {
  call,
  endOf,
  get,
  type OrderRequest,
  type ProblemBody,
  place,
  somebody,
  stepOf,
} from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { placePlanned, plan } from '../support/set-faults.ts';
import { killsOf } from '../support/two-phase.ts';

type Listed = Fault & { hits: number };
type FaultList = { items: Listed[]; on: boolean; points: { at: string }[] };

const list = () => get<FaultList>('/api/faults');
const put = (items: object[], headers: Record<string, string> = {}) =>
  call<{ items: Listed[] } & ProblemBody>('PUT', '/api/faults', { body: { items }, headers });

/** Sets faults and waits until they bite: services hear of a change by themselves, a moment later. */
async function set(...items: object[]): Promise<void> {
  expect((await put(items)).status).toBe(200);
}

async function outcomeOf(over: OrderRequest): Promise<Order> {
  const { orderId } = await place(over);
  return endOf(orderId);
}

/** Places orders until one is refused by the fault: from then on the service knows it. */
const untilRefused = (over: OrderRequest, at: string) =>
  eventually(
    `a refusal at ${at}`,
    async () => (await outcomeOf(over)).reason === `injected refusal at ${at}`,
  );

afterEach(async () => {
  expect((await call('DELETE', '/api/faults')).status).toBe(204);
});
afterAll(expectInvariants);

describe('When a fault is set for a customer', () => {
  test('then their orders meet it, the hits are counted, and nobody else is touched', async () => {
    const [who, other] = [somebody(), somebody()];
    await set({ id: 'c', at: 'payment.charge', do: 'refuse', scope: { customerId: who.customerId } });
    await untilRefused({ customerId: who.customerId }, 'payment.charge');
    expect(await outcomeOf({ customerId: other.customerId })).toMatchObject({ status: 'DISPATCHED' });
    const [fault] = (await list()).items;
    expect(fault).toMatchObject({ id: 'c', at: 'payment.charge', do: 'refuse' });
    expect(fault?.hits).toBeGreaterThan(0);
  });
});

describe('When a fault is set for a dish', () => {
  test('then orders with that dish among others meet it', async () => {
    const who = somebody();
    await set({ id: 'd', at: 'inventory.reserve', do: 'refuse', scope: { dishId: who.dishId } });
    const items = ['masala-dosa', who.dishId].map((dishId) => ({ dishId, quantity: 1 }));
    await untilRefused({ items }, 'inventory.reserve');
    expect(await outcomeOf({})).toMatchObject({ status: 'DISPATCHED' });
  });
});

describe('When a fault is set for a share of the orders', () => {
  test('then some meet it and some do not, and the hits are those that did', async () => {
    const who = somebody();
    const scope = { customerId: who.customerId, share: 0.5, seed: 3 };
    await set({ id: 's', at: 'payment.charge', do: 'refuse', scope });
    await untilRefused({ customerId: who.customerId }, 'payment.charge');
    const before = (await list()).items[0]?.hits ?? 0;
    const orders = await Promise.all(
      Array.from({ length: 40 }, () => outcomeOf({ customerId: who.customerId })),
    );
    const refused = orders.filter(({ reason }) => reason === 'injected refusal at payment.charge').length;
    // By chance outside of these once in more than a million runs.
    expect(refused).toBeGreaterThan(4);
    expect(refused).toBeLessThan(36);
    expect(orders.filter(({ status }) => status === 'DISPATCHED')).toHaveLength(40 - refused);
    expect((await list()).items[0]?.hits).toBe(before + refused);
  });
});

describe('When a fault ends after three hits', () => {
  test('then exactly three orders meet it, however many come at once', async () => {
    const who = somebody();
    const scope = { customerId: who.customerId };
    await set({ id: 'n', at: 'payment.charge', do: 'refuse', scope, hitsMax: 3 });
    await untilRefused({ customerId: who.customerId }, 'payment.charge');
    const orders = await Promise.all(
      Array.from({ length: 20 }, () => outcomeOf({ customerId: who.customerId })),
    );
    expect(orders.filter(({ status }) => status === 'CANCELLED')).toHaveLength(2);
    expect((await list()).items[0]?.hits).toBe(3);
  });
});

describe('When the faults are reset', () => {
  test('then orders go through again, and nothing is listed', async () => {
    const { customerId } = somebody();
    await set({ at: 'logistics.assign', do: 'refuse', scope: { customerId } });
    await untilRefused({ customerId }, 'logistics.assign');
    expect((await call('DELETE', '/api/faults')).status).toBe(204);
    await eventually('it heals', async () => (await outcomeOf({ customerId })).status === 'DISPATCHED');
    expect((await list()).items).toEqual([]);
  });
});

describe('When the broker and a service are killed', () => {
  test('then the fault is still set, and a reset is still heard', async () => {
    const { customerId } = somebody();
    await set({ id: 'k', at: 'payment.charge', do: 'refuse', scope: { customerId } });
    await untilRefused({ customerId }, 'payment.charge');
    await killPart('nats');
    await killPart('payment');
    await labReady();
    await eventually('an order goes through again', async () => {
      const { status } = await outcomeOf({ customerId: 'asha' });
      return status === 'DISPATCHED';
    });
    await untilRefused({ customerId }, 'payment.charge');
    // The order service was not killed: it must hear of changes over the broker's restart.
    await set({ id: 'o', at: 'order.confirm', do: 'refuse', scope: { customerId } });
    await eventually('confirm is refused', async () => {
      const { orderId } = await place({ customerId });
      return (await stepOf(orderId, 'order.confirm')).outcome === 'refused';
    });
    expect((await call('DELETE', '/api/faults')).status).toBe(204);
    await eventually('it heals', async () => (await outcomeOf({ customerId })).status === 'DISPATCHED');
  });
});

describe('When a service crashes between its commit and its publication', () => {
  test('then it is started again, and the relay tells what it had done', async () => {
    const one = plan();
    const before = killsOf('order');
    // The last step, so that no deadline can come before the relay on a slow machine.
    const at = 'order.dispatch.after-commit-before-publish';
    await set({ id: 'x', at, do: 'crash', hitsMax: 1, scope: { orderId: one.orderId } });
    await placePlanned(one, {});
    expect(await stepOf(one.orderId, 'notification.notify-dispatched')).toMatchObject({ outcome: 'done' });
    await labReady();
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect([(await list()).items[0]?.hits, killsOf('order') - before]).toEqual([1, 1]);
  });
});

describe('When an order carries a crash into its own placing', () => {
  test('then the key places it all the same, and no repeat meets the crash again', async () => {
    const one = plan();
    const before = killsOf('order');
    const faults = [{ at: 'order.place.before-commit', do: 'crash' } as const];
    await placePlanned(one, { faults });
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(killsOf('order')).toBe(before + 1);
    await labReady();
  });
});

describe('When two people set faults', () => {
  test('then the second, who has not seen the first change, is told', async () => {
    await set({ id: 'one', at: 'payment.charge', do: 'delay', scope: { customerId: 'nobody' } });
    const etag = (await call('GET', '/api/faults')).headers.get('etag') ?? '';
    expect(etag).toMatch(/^"\d+"$/);
    const first = await put([], { 'if-match': etag });
    expect(first.status).toBe(200);
    const second = await put([], { 'if-match': etag });
    expect([second.status, second.body.code]).toEqual([412, 'faults-changed']);
    expect(first.headers.get('etag')).not.toBe(etag);
    expect((await put([], { 'if-match': first.headers.get('etag') ?? '' })).status).toBe(200);
  });
});

describe('When a page of somebody else, or another host name, asks for a fault', () => {
  test.each([{ origin: 'http://evil.example' }, { origin: 'null' }])(
    'then %j is forbidden and nothing is set',
    async (headers) => {
      const answer = await put([{ at: 'payment.charge', do: 'refuse' }], headers);
      expect([answer.status, answer.body.code]).toEqual([403, 'forbidden-origin']);
      const reset = await call<ProblemBody>('DELETE', '/api/faults', { headers });
      expect([reset.status, reset.body.code]).toEqual([403, 'forbidden-origin']);
      expect((await list()).items).toEqual([]);
    },
  );
});

describe('When a fault cannot be', () => {
  const fault = { at: 'payment.charge', do: 'refuse' };
  test.each<[string, object[], string, string]>([
    ['an unknown point', [{ ...fault, at: 'payment.chargee' }], 'unknown-fault-point', 'items.0'],
    ['an undo that refuses', [fault, { ...fault, at: 'payment.refund' }], 'unknown-fault-point', 'items.1'],
    ['an unknown action', [{ ...fault, do: 'explode' }], 'invalid-request', 'items.0.do'],
    ['a share above one', [{ ...fault, scope: { share: 1.5 } }], 'invalid-request', 'items.0.scope.share'],
    ['an endless delay', [{ ...fault, do: 'delay', ms: 1e9 }], 'invalid-request', 'items.0.ms'],
    ['no hits at all', [{ ...fault, hitsMax: 0 }], 'invalid-request', 'items.0.hitsMax'],
    ['an id with a dot', [{ ...fault, id: 'a.b' }], 'invalid-request', 'items.0.id'],
    ['an unknown field', [{ ...fault, when: 'now' }], 'invalid-request', 'items.0'],
    [
      'one id twice',
      [
        { ...fault, id: 'a' },
        { ...fault, id: 'a' },
      ],
      'invalid-request',
      'items',
    ],
  ])('then %s is refused with its place', async (_, items, code, field) => {
    const answer = await put(items);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect([answer.body.code, answer.body.errors?.[0]?.field]).toEqual([code, field]);
    expect((await list()).items).toEqual([]);
  });
});
