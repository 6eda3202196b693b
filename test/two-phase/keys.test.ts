import { afterAll, describe, expect, test } from 'vitest';
import { branchLockMsMax } from '#libs/contracts/two-phase.ts';
import { call, endOf, holdings, orderBody, type ProblemBody, place, somebody } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask } from '../support/service.ts';
import {
  allOfIt,
  bodyOf,
  keyed,
  nothingOfIt,
  oneOutcomeOf,
  placeIn2pc,
  standingOf,
  type TwoPhaseRequest,
  transactionsOf,
} from '../support/two-phase.ts';

afterAll(expectInvariants, 120_000);

describe('When an order is placed under an Idempotency-Key', () => {
  const cases: { name: string; order: TwoPhaseRequest; status: number }[] = [
    { name: 'and is dispatched', order: {}, status: 201 },
    { name: 'and is refused', order: { customerId: 'ravi' }, status: 409 },
    { name: 'and is refused in a group', order: { city: 'lonavala', twoPhase: 'grouped' }, status: 409 },
  ];
  test.each(cases)('$name, then a repeat gets the same answer, byte for byte', async ({ order, status }) => {
    const { key, orderId } = keyed();
    const first = await placeIn2pc(order, key);
    const again = await placeIn2pc(order, key);
    expect(first.status, first.text).toBe(status);
    expect.soft([again.status, again.text]).toEqual([first.status, first.text]);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    if (status === 201) expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await transactionsOf(orderId)).toHaveLength(1);
  });

  test.each(cases)('$name, then another body under the key is refused', async ({ order }) => {
    const { key } = keyed();
    await placeIn2pc(order, key);
    const other = await placeIn2pc({ ...order, items: [{ dishId: 'masala-dosa', quantity: 2 }] }, key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
  });

  const refusals = cases.filter(({ status }) => status === 409);
  test.each(refusals)('$name, then the saga does not place it', async ({ order, status }) => {
    const { key, orderId } = keyed();
    expect((await placeIn2pc(order, key)).status).toBe(status);
    const other = await call<ProblemBody>('POST', '/api/orders', {
      body: orderBody(),
      headers: { 'idempotency-key': key },
    });
    expect.soft([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
    expect(await standingOf(orderId)).toEqual(nothingOfIt);
    expect((await placeIn2pc(order, key)).status).toBe(status);
  });

  test('and was one of the saga, then two-phase commit does not place it again', async () => {
    const { key, orderId } = keyed();
    await place({}, { 'idempotency-key': key });
    await endOf(orderId);
    const other = await placeIn2pc({}, key);
    expect.soft([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
    expect(await standingOf(orderId)).toEqual(allOfIt);
  });

  test('and is a saga still under way, then a group with its repeat does not touch it', async () => {
    const { key, orderId } = keyed();
    // Held before payment: logistics has never heard of it, and would take it for a new one.
    await place({ faults: [{ at: 'payment.charge', do: 'delay', ms: 2_500 }] }, { 'idempotency-key': key });
    const group = Array.from({ length: 6 }, () => placeIn2pc({ twoPhase: 'grouped' }));
    const other = await placeIn2pc({ twoPhase: 'grouped' }, key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
    for (const { status } of await Promise.all(group)) expect(status).toBe(201);
    expect((await endOf(orderId)).status).toBe('DISPATCHED');
    expect(await standingOf(orderId)).toEqual(allOfIt);
  });

  test('twice at once, then there is one order, and the second is told so', async () => {
    const { key, orderId } = keyed();
    const over: TwoPhaseRequest = { faults: [{ at: 'payment.charge', do: 'delay', ms: 700 }] };
    const first = placeIn2pc(over, key);
    const second = await eventually('a conflict', async () => {
      const answer = await placeIn2pc(over, key);
      return answer.status === 409 ? answer.body : undefined;
    });
    expect(second.code).toBe('idempotency-key-in-flight');
    expect((await first).status).toBe(201);
    expect((await transactionsOf(orderId)).map(({ decision }) => decision)).toEqual(['commit']);
  });

  test('twice at once past the gateway, then the databases let one of them through', async () => {
    const { orderId } = keyed();
    const who = somebody();
    const before = await holdings(who);
    const body = bodyOf({ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] });
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`;
    const one = { orderId, keyed: true, traceparent, body };
    const askedMs = Date.now();
    const answer = await ask('coordinator', 'POST', '/orders', JSON.stringify({ orders: [one, one, one] }));
    // Each would be first in another database: they must not wait there for each other until a lock times out.
    expect.soft(Date.now() - askedMs).toBeLessThan(branchLockMsMax);
    const answers = answer.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).answer);
    expect(answers).toHaveLength(3);
    const finished = answers.filter((each) => each.finished);
    expect(finished.length).toBeGreaterThan(0);
    for (const each of finished) expect(each.finished).toEqual(finished[0].finished);
    for (const { problem } of answers.filter((each) => each.problem)) {
      expect(problem.code).toBe('idempotency-key-in-flight');
    }
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 1);
  });
});
