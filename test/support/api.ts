/** The public API as a person uses it, and what most journeys ask of it. */
import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import type { Order, OrderFault, TimelineItem } from '#libs/contracts/orders.ts';
import { eventually } from './eventually.ts';

export const system = inject('system');

export type Answer<Body> = { status: number; headers: Headers; text: string; body: Body };
export type ProblemBody = {
  type: string;
  title: string;
  status: number;
  code: string;
  detail?: string;
  errors?: { field: string; message: string }[];
};

const answerMsMax = 40_000;

export async function call<Body = unknown>(
  method: string,
  path: string,
  options: { body?: unknown; raw?: string | Buffer; headers?: Record<string, string> } = {},
): Promise<Answer<Body>> {
  const { body, raw, headers = {} } = options;
  const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const response = await fetch(new URL(path, system.url), {
    method,
    headers: { ...(sent === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(sent === undefined ? {} : { body: sent }),
    signal: AbortSignal.timeout(answerMsMax),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : text };
}

export const get = async <Body>(path: string): Promise<Body> => (await call<Body>('GET', path)).body;

export type OrderRequest = {
  customerId?: string;
  city?: string;
  items?: { dishId: string; quantity: number }[];
  faults?: OrderFault[];
};

let people = 0;
/** Somebody with plenty of money and a dish with plenty of portions, that no other test of this file touches. */
export function somebody(): { customerId: string; dishId: string } {
  people += 1;
  const customerId = `customer-${String(people).padStart(4, '0')}`;
  return { customerId, dishId: `dish-${String(people).padStart(3, '0')}` };
}

export const orderBody = (over: OrderRequest = {}) => ({
  customerId: 'asha',
  city: 'bengaluru',
  items: [{ dishId: 'masala-dosa', quantity: 1 }],
  ...over,
});

/** Orders that the test under way has placed, for its evidence. */
export const placedInTest: string[] = [];

/** Places an order, which must be accepted. */
export async function place(over: OrderRequest = {}, headers: Record<string, string> = {}): Promise<Order> {
  const answer = await call<Order>('POST', '/api/orders', { body: orderBody(over), headers });
  if (answer.status !== 202 && answer.status !== 201) {
    throw new Error(`the order was not accepted: ${answer.status} ${answer.text}`);
  }
  placedInTest.push(answer.body.orderId);
  return answer.body;
}

/** Places an order until it is accepted, as a client does that keeps its Idempotency-Key over an outage. */
export async function placeThroughOutage(over: OrderRequest = {}, withinMs = 60_000): Promise<Order> {
  const headers = { 'idempotency-key': randomUUID() };
  return eventually('an order is accepted', () => place(over, headers), withinMs);
}

export const orderOf = (orderId: string) => get<Order>(`/api/orders/${orderId}`);

export async function endOf(orderId: string, withinMs?: number): Promise<Order> {
  return eventually(
    `order ${orderId} ends`,
    async () => {
      const order = await orderOf(orderId);
      return order.endedAt ? order : undefined;
    },
    withinMs,
  );
}

export async function timelineOf(orderId: string): Promise<TimelineItem[]> {
  return (await get<{ items: TimelineItem[] }>(`/api/orders/${orderId}/timeline`)).items;
}

/** The events of an order in causal order. */
export const typesOf = (timeline: readonly TimelineItem[]): string[] =>
  timeline.flatMap(({ type }) => type ?? []);

/** Waits until this step (or undo) of the order stands in the timeline. */
export async function stepOf(orderId: string, step: string, withinMs?: number): Promise<TimelineItem> {
  return eventually(
    `${step} of ${orderId}`,
    async () => (await timelineOf(orderId)).find((item) => item.step === step),
    withinMs,
  );
}

export const cancel = (orderId: string, body?: unknown) =>
  call<Omit<Order, 'status'> & Omit<ProblemBody, 'status'> & { status: string }>(
    'POST',
    `/api/orders/${orderId}/cancel`,
    body === undefined ? {} : { body },
  );

/** Its service may be starting again; what it cannot say then must not be compared with anything. */
const toldOf = <Body>(path: string): Promise<Body> =>
  eventually(`${path} is told`, async () => {
    const { status, body } = await call<Body>('GET', path);
    return status === 200 && body;
  });

export const balanceOf = async (customerId: string) =>
  (await toldOf<{ balance: number }>(`/api/wallets/${customerId}`)).balance;

export const stockOf = async (dishId: string) => {
  const { free, reserved } = await toldOf<{ free: number; reserved: number }>(`/api/stock/${dishId}`);
  return { free, reserved };
};

/** What somebody has, and what is left of a dish: to compare before and after. */
export const holdings = async ({ customerId, dishId }: { customerId: string; dishId: string }) => ({
  balance: await balanceOf(customerId),
  stock: await stockOf(dishId),
});

/** Asks for many things, a few at a time: a hundred polls at once would be a load test. */
export async function eventuallyAll<In, Out>(
  items: readonly In[],
  ask: (item: In) => Promise<Out>,
  atOnceMax = 10,
): Promise<Out[]> {
  const answers: Out[] = [];
  for (let from = 0; from < items.length; from += atOnceMax) {
    answers.push(...(await Promise.all(items.slice(from, from + atOnceMax).map(ask))));
  }
  return answers;
}
