/** What replicas have in common: faults and their counts, keys, and what one of them has forgotten. */

import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import { labControl } from '#lab/control/client.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { deadLetterStream, eventStream, faultStream } from '#libs/nats/streams.ts';
import { call, endOf, get, holdings, orderBody, type ProblemBody, somebody, system } from '../support/api.ts';
import { openBus } from '../support/bus.ts';
import { killPart } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric } from '../support/service.ts';
import {
  bodyOf,
  inDoubtOf,
  keyed,
  oneOutcomeOf,
  placeIn2pc,
  preparedEverywhere,
  undecided,
} from '../support/two-phase.ts';

afterAll(expectInvariants, 120_000);

const [first = '', second = ''] = system.urls;
const orders = (url: string) => new URL('/api/orders', url).href;

async function placeAt(url: string, key: string, body: object) {
  const headers = { 'content-type': 'application/json', 'idempotency-key': key, prefer: 'wait=10' };
  const answer = await fetch(orders(url), { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: answer.status, body: (await answer.json()) as Order & Omit<ProblemBody, 'status'> };
}

test('A fault that ends after seven hits fires seven times, whoever of the replicas meets it', async () => {
  const hitsMax = 7;
  const who = somebody();
  const scope = { customerId: who.customerId };
  const fired = async () => {
    const pattern = /^saga_faults_fired_total\{point="payment.charge",action="refuse"/;
    return [await metric('payment', pattern), await metric('payment-2', pattern)];
  };
  const before = await fired();
  const fault = { id: 'seven', at: 'payment.charge', do: 'refuse', hitsMax, scope };
  expect((await call('PUT', '/api/faults', { body: { items: [fault] } })).status).toBe(200);
  const body = orderBody({ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] });
  const ended: string[] = [];
  // One after another, so that both replicas get some of them.
  for (let round = 0; round < 10; round++) {
    const placed = await Promise.all([first, second].map((url) => placeAt(url, randomUUID(), body)));
    for (const { body: order } of placed) ended.push((await endOf(order.orderId)).status);
  }
  expect(ended.filter((status) => status === 'CANCELLED')).toHaveLength(hitsMax);
  const { items } = await get<{ items: { id: string; hits: number }[] }>('/api/faults');
  expect(items.map(({ id, hits }) => [id, hits])).toEqual([['seven', hitsMax]]);
  const here = (await fired()).map((hits, index) => hits - (before[index] ?? 0));
  expect(here.reduce((sum, hits) => sum + hits)).toBe(hitsMax);
  expect((await call('DELETE', '/api/faults')).status).toBe(204);
});

describe('When one key comes to two gateways at once', () => {
  test('under the saga, then it is one order, and both are told of it', async () => {
    const who = somebody();
    const before = await holdings(who);
    const body = orderBody({ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] });
    const key = randomUUID();
    const answers = await Promise.all([first, second].map((url) => placeAt(url, key, body)));
    for (const answer of answers) {
      expect([answer.status, answer.body.orderId]).toEqual([201, orderIdOf(key)]);
      expect(answer.body.status).toBe('DISPATCHED');
    }
    expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 1);
  });

  test('under two-phase commit, then both come to one coordinator, and are told the same', async () => {
    const who = somebody();
    const before = await holdings(who);
    const body = bodyOf({ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] });
    const key = randomUUID();
    const answers = await Promise.all([first, second].map((url) => placeAt(url, key, body)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[0]?.body).toEqual(answers[1]?.body);
    expect(await oneOutcomeOf(orderIdOf(key))).toBe('commit');
    expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 1);
  });

  test('with another body, then one of them is refused', async () => {
    const key = randomUUID();
    const dishes = ['dish-001', 'dish-002'].map((dishId) => orderBody({ items: [{ dishId, quantity: 1 }] }));
    const answers = await Promise.all([
      placeAt(first, key, dishes[0] ?? {}),
      placeAt(second, key, dishes[1] ?? {}),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 422]);
    expect(answers.find(({ status }) => status === 422)?.body.code).toBe('idempotency-key-reused');
  });
});

test('Every stream has a copy on all three nodes, and a node that was killed is started again and catches up', async () => {
  await killPart('nats-3');
  await labControl(system.home).ready();
  const bus = await openBus();
  try {
    for (const name of [eventStream, deadLetterStream, faultStream]) {
      const { config, cluster } = await eventually(`${name} is current everywhere`, async () => {
        const info = await bus.manager.streams.info(name);
        return info.cluster?.replicas?.every(({ current }) => current) ? info : undefined;
      });
      const nodes = [cluster?.leader, ...(cluster?.replicas ?? []).map((replica) => replica.name)];
      expect([config.num_replicas, nodes.sort()], name).toEqual([3, ['nats', 'nats-2', 'nats-3']]);
    }
  } finally {
    await bus.close();
  }
});

test('Orders in doubt are named when nobody lives that prepared them: the decision log knows them', async () => {
  const who = somebody();
  const { key, orderId } = keyed();
  const request = { customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] };
  const placing = placeIn2pc({ ...request, faults: undecided(10_000) }, key);
  await preparedEverywhere(orderId);
  await Promise.all([killPart('payment'), killPart('payment-2')]);
  await labControl(system.home).ready();
  const items = await eventually('payment is asked', async () => {
    const found = await inDoubtOf(orderId);
    return found.some(({ service }) => service === 'payment') ? found : undefined;
  });
  expect(items.find(({ service }) => service === 'payment')?.orderIds).toEqual([orderId]);
  expect((await placing).status).toBe(201);
  expect(await oneOutcomeOf(orderId)).toBe('commit');
});
