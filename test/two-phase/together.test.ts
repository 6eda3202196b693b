import { afterAll, describe, expect, test } from 'vitest';
import type { Order, OrderFault } from '#libs/contracts/orders.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import {
  balanceOf,
  call,
  endOf,
  get,
  holdings,
  place,
  placedInTest,
  somebody,
  stockOf,
} from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric } from '../support/service.ts';
import {
  allOfIt,
  bodyOf,
  firedAt,
  keyed,
  oneOutcomeOf,
  type Placed,
  placeIn2pc,
  preparedGids,
  standingOf,
  type TwoPhaseRequest,
  transactionsOf,
} from '../support/two-phase.ts';

afterAll(expectInvariants, 120_000);

const refuseAt = (at: string): OrderFault[] => [{ at, do: 'refuse' }];
const pick = <T>(list: readonly T[], index: number): T => list[index % list.length] as T;

describe('T8: When many orders share their transactions', () => {
  test('then the refused ones are cancelled with their reason, and the others are dispatched', async () => {
    const who = somebody();
    const before = await holdings(who);
    const items = [{ dishId: who.dishId, quantity: 1 }];
    const kinds: { order: TwoPhaseRequest; reason: string | null }[] = [
      { order: { customerId: who.customerId, items }, reason: null },
      { order: { customerId: 'ravi', items }, reason: 'insufficient funds' },
      { order: { customerId: who.customerId, items }, reason: null },
      {
        order: { customerId: who.customerId, items: [...items, { dishId: 'truffle-thali', quantity: 1 }] },
        reason: 'out of stock: truffle-thali',
      },
      { order: { customerId: who.customerId, items }, reason: null },
      { order: { customerId: who.customerId, items, city: 'lonavala' }, reason: 'no courier in lonavala' },
      { order: { customerId: who.customerId, items }, reason: null },
      {
        order: { customerId: who.customerId, items, faults: refuseAt('order.place') },
        reason: 'injected refusal at order.place',
      },
    ];
    const count = 40;
    const size = (part: string) =>
      metric('coordinator', new RegExp(`^two_phase_group_size_${part}.*"grouped"`));
    const [ordersBefore, groupsBefore] = [await size('sum'), await size('count')];
    const placed = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const { key, orderId } = keyed();
        const { order, reason } = pick(kinds, index);
        return { orderId, reason, answer: await placeIn2pc({ ...order, twoPhase: 'grouped' }, key) };
      }),
    );
    const [orders, groups] = [(await size('sum')) - ordersBefore, (await size('count')) - groupsBefore];
    expect(orders).toBeGreaterThanOrEqual(count);
    expect(groups).toBeLessThan(orders / 2);

    for (const { orderId, reason, answer } of placed) {
      const isRefused = reason !== null;
      expect([answer.status, answer.body.detail ?? null], answer.text).toEqual([
        isRefused ? 409 : 201,
        reason,
      ]);
      expect(await get<Order>(`/api/orders/${orderId}`)).toMatchObject({
        status: isRefused ? 'CANCELLED' : 'DISPATCHED',
        reason,
      });
      if (!isRefused) {
        expect(await oneOutcomeOf(orderId)).toBe('commit');
        continue;
      }
      const standing = await standingOf(orderId);
      // Whoever had done its step has undone it in the same transaction; who was never asked knows nothing.
      for (const name of participantNames) expect(standing[name], name).not.toBe(allOfIt[name]);
    }
    const stands = placed.filter(({ reason }) => reason === null);
    const total = stands.reduce((sum, { answer }) => sum + answer.body.total, 0);
    expect(await holdings(who)).toEqual({
      balance: before.balance - total,
      stock: { free: before.stock.free - stands.length, reserved: before.stock.reserved + stands.length },
    });
  });
});

describe('T8: When a few of many orders that share their transactions break them', () => {
  const kinds = [
    {
      // The only one.
      every: 40,
      fault: { at: 'order.confirm', do: 'refuse' },
      told: [409, 'order-refused-by-participant', 'injected refusal at order.confirm'],
    },
    {
      // So many that hardly a group is without one, however often it is tried.
      every: 4,
      fault: { at: 'inventory.reserve', do: 'error', times: 20 },
      told: [503, 'transaction-aborted', 'inventory: injected error at inventory.reserve'],
    },
  ] as const satisfies { every: number; fault: OrderFault; told: unknown[] }[];
  const rows = kinds.flatMap((row) => [true, false].map((isKeyed) => ({ ...row, isKeyed })));

  test.each(rows)(
    '$fault.do at $fault.at (under a key: $isKeyed), then they alone are told so, and the others are dispatched',
    async ({ every, fault, told, isKeyed }) => {
      const { at, do: action } = fault;
      const service = at.slice(0, at.indexOf('.'));
      const firedBefore = await firedAt(service, at, action);
      const who = somebody();
      const before = await holdings(who);
      const items = [{ dishId: who.dishId, quantity: 1 }];
      const placed = await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const isCulprit = index % every === every / 2;
          const faults = isCulprit ? [fault] : [];
          const request: TwoPhaseRequest = { customerId: who.customerId, items, faults, twoPhase: 'grouped' };
          const answer = await (isKeyed ? placeIn2pc(request) : placeUnkeyed(request));
          return { isCulprit, ...answer };
        }),
      );
      const culprits = placed.filter(({ isCulprit }) => isCulprit);
      for (const { status, body } of culprits) expect([status, body.code, body.detail]).toEqual(told);
      // In the group, and again alone.
      expect((await firedAt(service, at, action)) - firedBefore).toBeGreaterThan(culprits.length);

      const innocents = placed.filter(({ isCulprit }) => !isCulprit);
      const shared: string[] = [];
      for (const { status, text, body } of innocents) {
        expect([status, body.status], text).toEqual([201, 'DISPATCHED']);
        placedInTest.push(body.orderId);
        expect(await oneOutcomeOf(body.orderId)).toBe('commit');
        const [first] = await transactionsOf(body.orderId);
        if (first?.decision === 'abort') shared.push(body.orderId);
      }
      expect(shared, 'nobody shared a transaction with a culprit').not.toEqual([]);
      expect(await preparedGids()).toEqual([]);
      const { length: count } = innocents;
      expect(await holdings(who)).toEqual({
        balance: before.balance - innocents.reduce((sum, { body }) => sum + body.total, 0),
        stock: { free: before.stock.free - count, reserved: before.stock.reserved + count },
      });
    },
  );
});

const placeUnkeyed = (request: TwoPhaseRequest): Promise<Placed> =>
  call('POST', '/api/orders', { body: bodyOf(request) });

describe('When saga and two-phase commit work on the same wallets and dishes', () => {
  test('then no money and no portion is lost between them', async () => {
    const people = [somebody(), somebody(), somebody()];
    const before = await Promise.all(people.map(holdings));
    const count = 36;
    const placed = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const { customerId } = pick(people, index);
        // Both dishes of every order in two orders of lines: locks are taken by key, not as they come.
        const dishes = [pick(people, index), pick(people, index + 1 + (index % 2))];
        const items = dishes.map(({ dishId }) => ({ dishId, quantity: 1 }));
        if (index % 3 === 0) return endOf((await place({ customerId, items })).orderId);
        const twoPhase = index % 3 === 1 ? 'single' : 'grouped';
        const answer = await placeIn2pc({ customerId, items, twoPhase });
        expect(answer.status, answer.text).toBe(201);
        return answer.body;
      }),
    );
    for (const { orderId, status } of placed) expect(status, orderId).toBe('DISPATCHED');
    for (const { orderId } of placed) placedInTest.push(orderId);
    const bought = (customerId: string) =>
      placed.filter((order) => order.customerId === customerId).reduce((sum, { total }) => sum + total, 0);
    const portions = (dishId: string) =>
      placed.flatMap(({ items }) => items).filter((item) => item.dishId === dishId).length;
    await eventually('all have arrived', async () => {
      for (const { orderId } of placed) expect(await standingOf(orderId), orderId).toEqual(allOfIt);
      return true;
    });
    for (const [index, { customerId, dishId }] of people.entries()) {
      const was = before[index];
      expect(await balanceOf(customerId)).toBe((was?.balance ?? 0) - bought(customerId));
      expect((await stockOf(dishId)).reserved).toBe((was?.stock.reserved ?? 0) + portions(dishId));
    }
  });
});
