import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import { call, endOf, get, orderBody, type ProblemBody, place, placeThroughOutage } from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';

afterAll(expectInvariants);

const post = (body: unknown, headers: Record<string, string> = {}) =>
  call<Order>('POST', '/api/orders', { body, headers });
const keyed = () => ({ 'idempotency-key': randomUUID() });

describe('F31: When an order is placed under an Idempotency-Key', () => {
  test('then a repeat gets the same answer, byte for byte, and there is one order', async () => {
    const headers = keyed();
    const first = await post(orderBody(), headers);
    expect(first.status).toBe(202);
    await endOf(first.body.orderId);
    const again = await post(orderBody(), headers);
    expect([again.status, again.text]).toEqual([first.status, first.text]);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(first.headers.get('idempotency-replayed')).toBeNull();
  });

  test('then the order of the fields and the quotes of the key make no difference', async () => {
    const key = randomUUID();
    const first = await post(orderBody(), { 'idempotency-key': key });
    const { customerId, city, items } = orderBody();
    const again = await post({ items, city, customerId }, { 'idempotency-key': `"${key}"` });
    expect([again.status, again.text]).toEqual([202, first.text]);
  });

  test('then a finished answer is repeated byte for byte too', async () => {
    const headers = { ...keyed(), prefer: 'wait=10' };
    const first = await post(orderBody(), headers);
    expect([first.status, first.body.status]).toEqual([201, 'DISPATCHED']);
    const again = await post(orderBody(), headers);
    expect([again.status, again.text]).toEqual([201, first.text]);
  });

  test('then another body under the same key is refused', async () => {
    const headers = keyed();
    await post(orderBody(), headers);
    const other = await post(orderBody({ city: 'pune' }), headers);
    expect([other.status, (other.body as unknown as ProblemBody).code]).toEqual([
      422,
      'idempotency-key-reused',
    ]);
  });

  test('then a second request while the first is in flight is told so', async () => {
    const headers = { ...keyed(), prefer: 'wait=5' };
    const body = orderBody({ faults: [{ at: 'payment.charge', do: 'delay', ms: 1_500 }] });
    const first = post(body, headers);
    const second = await eventually('a conflict', async () => {
      const answer = await post(body, headers);
      return answer.status === 409 ? (answer.body as unknown as ProblemBody) : undefined;
    });
    expect(second.code).toBe('idempotency-key-in-flight');
    expect((await first).status).toBe(201);
  });

  test('then it is remembered over a crash of the gateway and of the order service', async () => {
    const headers = keyed();
    const first = await post(orderBody(), headers);
    await endOf(first.body.orderId);
    await killPart('order');
    await killPart('gateway');
    await labReady();
    const again = await eventually('an answer', async () => {
      const answer = await post(orderBody(), headers);
      return answer.status < 500 ? answer : undefined;
    });
    expect([again.status, again.text]).toEqual([first.status, first.text]);
  });
});

describe('When the answer may take a while', () => {
  test('then without a preference it is 202 with the place to look', async () => {
    const answer = await post(orderBody());
    expect([answer.status, answer.body.status]).toEqual([202, 'PENDING']);
    const location = answer.headers.get('location') ?? '';
    expect(location).toBe(`/api/orders/${answer.body.orderId}`);
    expect((await get<Order>(location)).orderId).toBe(answer.body.orderId);
    await endOf(answer.body.orderId);
  });

  test('then who prefers to wait gets the finished order, dispatched or cancelled', async () => {
    const good = await post(orderBody(), { prefer: 'wait=10' });
    expect([good.status, good.body.status]).toEqual([201, 'DISPATCHED']);
    expect(good.headers.get('preference-applied')).toBe('wait=10');
    const bad = await post(orderBody({ customerId: 'ravi' }), { prefer: 'wait=10' });
    expect([bad.status, bad.body.status, bad.body.reason]).toEqual([201, 'CANCELLED', 'insufficient funds']);
    for (const { body } of [good, bad]) expect(await get(`/api/orders/${body.orderId}`)).toEqual(body);
  });

  test('then who waits too short gets the order as it is', async () => {
    const faults = [{ at: 'inventory.reserve', do: 'delay', ms: 2_500 } as const];
    const answer = await post(orderBody({ faults }), { prefer: 'wait=1' });
    expect([answer.status, answer.body.status]).toEqual([202, 'PENDING']);
    expect(answer.headers.get('location')).toBe(`/api/orders/${answer.body.orderId}`);
    await endOf(answer.body.orderId);
  });
});

describe('When orders are listed page by page', () => {
  test('then none is missing and none comes twice, while new ones arrive', async () => {
    const placed = await Promise.all(Array.from({ length: 25 }, () => place()));
    const seen: Order[] = [];
    let path: string | undefined = '/api/orders?limit=7';
    while (path !== undefined) {
      const answer: { items: Order[]; nextCursor: string | null } = await get(path);
      expect(answer.items.length).toBeLessThanOrEqual(7);
      seen.push(...answer.items);
      await place();
      const wanted = placed.some(({ orderId }) => !seen.some((order) => order.orderId === orderId));
      const next = answer.nextCursor;
      path = wanted && next ? `/api/orders?limit=7&cursor=${encodeURIComponent(next)}` : undefined;
    }
    const ids = seen.map(({ orderId }) => orderId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(expect.arrayContaining(placed.map(({ orderId }) => orderId)));
    const times = seen.map(({ createdAt }) => createdAt);
    expect(times).toEqual([...times].sort().reverse());
  });

  test.each([
    ['/api/wallets', 'customerId', 1_000],
    ['/api/stock', 'dishId', 300],
    ['/api/couriers', 'courierId', 120],
  ])('then %s gives each %s once', async (path, field, count) => {
    const ids: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query: string = `limit=90${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const answer: { items: Record<string, string>[]; nextCursor: string | null } = await get(
        `${path}?${query}`,
      );
      ids.push(...answer.items.map((item) => item[field] ?? ''));
      cursor = answer.nextCursor;
    }
    expect([new Set(ids).size, ids.length]).toEqual([count, count]);
  });

  test('then the notifications of one order are those of its story', async () => {
    const { orderId } = await placeThroughOutage();
    await endOf(orderId);
    const kinds = await eventually('both', async () => {
      const { items } = await get<{ items: { kind: string }[] }>(`/api/notifications?orderId=${orderId}`);
      return items.length === 2 ? items.map(({ kind }) => kind) : undefined;
    });
    expect(kinds.sort()).toEqual(['confirmed', 'dispatched']);
  });
});
