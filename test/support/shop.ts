/** Orders at a lab of a test's own, each under its key, with what became of the asking. */
import { randomUUID } from 'node:crypto';
import type { Invariants } from '#libs/checker/check.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { eventually } from './eventually.ts';

const answerMsMax = 30_000;
const endsWithinMs = 90_000;

export type Asked = {
  key: string;
  status: number;
  code: string | undefined;
  retryAfter: string | null;
  order: Order;
};

export type Shop = Awaited<ReturnType<typeof openShop>>;

export function openShop(url: string) {
  const accepted = new Set<string>();

  /** 0 when there was no answer at all: then nobody knows. */
  async function place(over: object = {}, key: string = randomUUID()): Promise<Asked> {
    const body = {
      customerId: 'asha',
      city: 'bengaluru',
      items: [{ dishId: 'masala-dosa', quantity: 1 }],
      ...over,
    };
    const response = await fetch(new URL('/api/orders', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(answerMsMax),
    });
    const answer = (await response.json()) as Order & { code?: string };
    if (response.ok) accepted.add(answer.orderId);
    const retryAfter = response.headers.get('retry-after');
    return { key, status: response.status, code: answer.code, retryAfter, order: answer };
  }

  const get = async <Body>(path: string): Promise<Body> =>
    (await (await fetch(new URL(path, url))).json()) as Body;

  return {
    place,
    get,
    accepted,
    /** Every order that was ever accepted has come to its end, and nothing is violated. */
    async settled(): Promise<Order[]> {
      const ends: Order[] = [];
      for (const orderId of accepted) {
        ends.push(
          await eventually(
            `order ${orderId} ends`,
            async () => {
              const order = await get<Order>(`/api/orders/${orderId}`);
              return order.endedAt ? order : undefined;
            },
            endsWithinMs,
          ),
        );
      }
      await eventually(
        'the invariants hold',
        async () => {
          const found = await get<Invariants>('/api/invariants?quiet=true');
          if (found.holds) return true;
          throw new Error(JSON.stringify(found.rules.filter(({ holds }) => !holds)));
        },
        endsWithinMs,
      );
      return ends;
    },
  };
}
