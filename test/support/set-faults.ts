/** Faults set from outside, as a test needs them: for an order whose id is known before it is placed. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order } from '#libs/contracts/orders.ts';
import type { Fault } from '#libs/faults/fault.ts';
import { call, get, type OrderRequest, orderBody, placedInTest } from './api.ts';
import { eventually } from './eventually.ts';

export type NewFault = Pick<Fault, 'id' | 'at' | 'do'> &
  Partial<Omit<Fault, 'scope'>> & { scope?: Partial<Fault['scope']> };
export type Listed = Fault & { hits: number };

export const faultsSet = async () => (await get<{ items: Listed[] }>('/api/faults')).items;

export async function setFaults(...items: NewFault[]): Promise<void> {
  const { status, text } = await call('PUT', '/api/faults', { body: { items } });
  expect(status, text).toBe(200);
}

export const heal = async () => expect((await call('DELETE', '/api/faults')).status).toBe(204);

export const hitsOf = async (id: string) => (await faultsSet()).find((fault) => fault.id === id)?.hits;

/** A key comes before its order, and so does the order's id. */
export type Planned = { key: string; orderId: string };

export function plan(): Planned {
  const key = randomUUID();
  return { key, orderId: orderIdOf(key) };
}

/** As a client does that keeps its key over an outage: until it is told that the order stands. */
export async function placePlanned(
  { key, orderId }: Planned,
  over: OrderRequest,
  withinMs = 60_000,
): Promise<Order> {
  placedInTest.push(orderId);
  const headers = { 'idempotency-key': key };
  return eventually(
    `order ${orderId} is accepted`,
    async () => {
      const answer = await call<Order>('POST', '/api/orders', { body: orderBody(over), headers });
      if (answer.status !== 202 && answer.status !== 201) throw new Error(answer.text);
      return answer.body;
    },
    withinMs,
  );
}
