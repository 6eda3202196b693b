/** A lab whose spans can be read back: how to place an order in it, and how to wait for its whole trace. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { expect, vi } from 'vitest';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, OrderFault, TwoPhaseMode } from '#libs/contracts/orders.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import type { Lab } from '../../infra/lab/launch.ts';
import { eventually } from './eventually.ts';
import { edgesOf, orphansOf, root, rootsOf, type Span, servicesOf } from './trace-shape.ts';

/** Wherever the spans are: in a real Jaeger, or in a sink of this process. */
export type TraceWorld = { lab: Lab; spansOf(traceId: string): Promise<Span[]> };

/** Exporters send twice a second; recovery looks once a second, and the relay leaves a row alone for two. */
const spansWithinMs = 15_000;
const orderWithinMs = 60_000;

export const rich = 'customer-0007';
export const poor = 'ravi';
/** ₹840: its number in paise is no port, so that it is recognised wherever it stands. */
const items = [{ dishId: 'masala-dosa', quantity: 7 }];

export type Wanted = {
  customerId?: string;
  city?: string;
  items?: { dishId: string; quantity: number }[];
  protocol?: '2pc';
  twoPhase?: TwoPhaseMode;
  faults?: OrderFault[];
};

export async function place(
  { lab }: TraceWorld,
  over: Wanted = {},
  prefer = 'wait=10',
): Promise<{ status: number; orderId: string }> {
  const key = randomUUID();
  const response = await fetch(`${lab.url}/api/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key, prefer },
    body: JSON.stringify({ customerId: rich, city: 'bengaluru', items, ...over }),
  });
  await response.text();
  return { status: response.status, orderId: orderIdOf(key) };
}

/** Gives the order once it has ended. */
export const endOf = ({ lab }: TraceWorld, orderId: string): Promise<Order> =>
  eventually(
    `${orderId} ends`,
    async () => {
      const response = await fetch(`${lab.url}/api/orders/${orderId}`);
      const order = (await response.json()) as Order;
      return response.ok && order.endedAt ? order : undefined;
    },
    orderWithinMs,
  );

export type Expected = {
  edges: string[];
  services: readonly string[];
  /** Of an order that nobody can be asked about. */
  traceId?: string;
};

/** From the decision log: an order whose transaction was aborted unfinished exists nowhere else. */
export async function tracedInLog({ lab }: TraceWorld, orderId: string): Promise<string> {
  const client = new pg.Client({ connectionString: lab.databases.coordinator?.auditUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ traceparent: string }>(
      `select one ->> 'traceparent' as traceparent from transactions, jsonb_array_elements(orders) as one
       where one ->> 'orderId' = $1`,
      [orderId],
    );
    return traceIdOf(rows[0]?.traceparent ?? '');
  } finally {
    await client.end();
  }
}

/** One trace, one root, no orphan, every service, and exactly these edges; gives its spans. */
export async function expectTrace(world: TraceWorld, orderId: string, expected: Expected): Promise<Span[]> {
  const traceId = expected.traceId ?? (await endOf(world, orderId)).traceId;
  let spans: Span[] = [];
  const check = async () => {
    spans = await world.spansOf(traceId);
    expect(edgesOf(spans)).toEqual(expected.edges);
    expect(orphansOf(spans)).toEqual([]);
    expect(rootsOf(spans)).toEqual([root]);
  };
  await vi.waitFor(check, { timeout: spansWithinMs, interval: 200 });
  expect(servicesOf(spans)).toEqual([...expected.services].sort());
  const ofOrder = spans.filter(({ attributes }) => 'saga.order_id' in attributes);
  expect([...new Set(ofOrder.map(({ attributes }) => attributes['saga.order_id']))]).toEqual([orderId]);
  return spans;
}

export const everyone = ['gateway', 'order', 'payment', 'inventory', 'logistics', 'notification'];
export const everyoneIn2pc = ['coordinator', ...everyone];
