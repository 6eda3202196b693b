/** Placing orders for a scenario: started, looked at while they are under way, and told when they have ended. */
import { randomUUID } from 'node:crypto';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import { endStatuses, type Order, type PlaceOrderBody } from '#libs/contracts/orders.ts';
import { type LabApi, RequestRefused } from '../api.ts';

export type Wish = Pick<PlaceOrderBody, 'customerId'> & { dishId: string } & Partial<
    Pick<PlaceOrderBody, 'protocol' | 'twoPhase' | 'faults'>
  >;

/** What became of it: `DISPATCHED`, or in words why not. `null` while nothing is known. */
export type Placed = {
  orderId: string;
  became(): string | null;
  /** Milliseconds from the POST to the end; null before it. */
  tookMs(): number | null;
  /** Resolves at the end, never rejects. */
  ended: Promise<string>;
};

const pollMs = 100;
const endWithinMs = 60_000;

/** The key makes the order's id known before there is an answer: that is how it is found among those in doubt. */
export function place(api: LabApi, { dishId, ...wish }: Wish): Placed {
  const key = randomUUID();
  const orderId = orderIdOf(key);
  const startedAt = performance.now();
  let became: string | null = null;
  let tookMs: number | null = null;
  const body = { city: 'bengaluru', items: [{ dishId, quantity: 1 }], ...wish };
  const ended = api
    .request<Order>('POST', '/api/orders', { body, headers: { 'idempotency-key': key } })
    .then(({ body: order }) => endOf(api, order))
    .catch(whyNot)
    .then((end) => {
      became = end;
      tookMs = performance.now() - startedAt;
      return end;
    });
  return { orderId, ended, became: () => became, tookMs: () => tookMs };
}

async function endOf(api: LabApi, order: Order): Promise<string> {
  const deadline = performance.now() + endWithinMs;
  for (let current = order; ; ) {
    if (endStatuses.includes(current.status)) {
      return current.reason === null ? current.status : `${current.status}: ${current.reason}`;
    }
    if (performance.now() > deadline) return `still ${current.status} after ${endWithinMs / 1_000} s`;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    current = (await api.request<Order>('GET', `/api/orders/${order.orderId}`)).body;
  }
}

function whyNot(error: unknown): string {
  if (!(error instanceof Error)) throw error;
  return error instanceof RequestRefused ? error.message : `no answer: ${error.message}`;
}

/** Looks until `look` finds something, or the time is over; each look may itself take its time. */
export async function within<T>(ms: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  const deadline = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
