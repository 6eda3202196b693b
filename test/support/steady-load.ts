/**
 * Orders of both protocols, one after another from a few clients, as people place them who do not give up: under an
 * Idempotency-Key, at one gateway after the other, again until the answer is one.
 */
import { randomUUID } from 'node:crypto';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, Protocol } from '#libs/contracts/orders.ts';
import type { ProblemBody } from './api.ts';

export type LoadedOrder = {
  orderId: string;
  key: string;
  protocol: Protocol;
  body: object;
  sentAt: number;
  tries: number;
  /** How it was answered at last; null while it is tried. */
  answer: { status: number; code: string | null; order: Order | null; at: number } | null;
};

/** A try that somebody took in and did not answer, or answered with a fault of ours. */
export type Failure = { orderId: string; url: string; at: number; what: string };

export type SteadyLoad = {
  orders: LoadedOrder[];
  failures: Failure[];
  /** Orders that were sent after that moment and have come to their end since. */
  endedSince(ms: number): Record<Protocol, number>;
  /** Waits for the orders that are under way. */
  stop(): Promise<void>;
};

const answerMsMax = 12_000;
const retryMs = 100;
/** Between two orders of one client: what is measured here is not how fast it goes. */
const pauseMs = 40;
const giveUpMs = 60_000;
const waitSeconds = 5;

export function startLoad(urls: readonly string[], clients: number): SteadyLoad {
  const orders: LoadedOrder[] = [];
  const failures: Failure[] = [];
  let stopping = false;

  const client = async (first: number) => {
    for (let index = first; !stopping; index += clients) {
      const order = orderOf(index);
      orders.push(order);
      for (let turn = index; order.answer === null; turn++) {
        order.tries += 1;
        order.answer = await tryOnce(order, urls[turn % urls.length] ?? '', failures);
        if (order.answer === null && Date.now() - order.sentAt > giveUpMs) break;
        await new Promise((resolve) => setTimeout(resolve, order.answer === null ? retryMs : pauseMs));
      }
    }
  };
  const running = Promise.all(Array.from({ length: clients }, (_, index) => client(index)));

  return {
    orders,
    failures,
    endedSince(ms) {
      const ended = orders.filter(({ sentAt, answer }) => sentAt > ms && answer !== null && isEnd(answer));
      const of = (protocol: Protocol) => ended.filter((order) => order.protocol === protocol).length;
      return { saga: of('saga'), '2pc': of('2pc') };
    },
    async stop() {
      stopping = true;
      await running;
    },
  };
}

export const isEnd = ({ code, order }: NonNullable<LoadedOrder['answer']>): boolean =>
  code === 'order-refused-by-participant' || (order?.endedAt ?? null) !== null;

/** What may be different the next time: nobody there, nothing known, or somebody else at it. */
const retried = ['service-unavailable', 'transaction-aborted', 'idempotency-key-in-flight', 'internal-error'];

async function tryOnce(
  { orderId, key, body }: LoadedOrder,
  url: string,
  failures: Failure[],
): Promise<LoadedOrder['answer']> {
  const failed = (what: string) => failures.push({ orderId, url, at: Date.now(), what });
  try {
    const response = await fetch(`${url}/api/orders`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'idempotency-key': key,
        prefer: `wait=${waitSeconds}`,
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(answerMsMax),
    });
    const { status } = response;
    const said: unknown = await response.json();
    if (status < 300) return { status, code: null, order: said as Order, at: Date.now() };
    const { code, detail } = said as ProblemBody;
    if (!retried.includes(code)) return { status, code, order: null, at: Date.now() };
    failed(`${status} ${code}: ${detail}`);
  } catch (error) {
    // Reset, or too late: whether it took effect is unknown, and the next try finds out. Who refuses took nothing in.
    const { code } = ((error as Error).cause ?? {}) as { code?: string };
    if (code !== 'ECONNREFUSED') failed(`${(error as Error).name} ${code}`);
  }
  return null;
}

/** A few of every kind of story, under both protocols and in groups. */
function orderOf(index: number): LoadedOrder {
  const key = randomUUID();
  const protocol = index % 2 === 0 ? 'saga' : '2pc';
  const story = Math.trunc(index / 2);
  const number = (of: number, digits: number) => String(1 + (story % of)).padStart(digits, '0');
  const body = {
    customerId: story % 20 === 3 ? 'ravi' : `customer-${number(300, 4)}`,
    city: story % 20 === 7 ? 'lonavala' : 'bengaluru',
    items: [{ dishId: story % 20 === 11 ? 'truffle-thali' : `dish-${number(200, 3)}`, quantity: 1 }],
    protocol,
    ...(protocol === '2pc' && story % 3 === 0 ? { twoPhase: 'grouped' } : {}),
  } as const;
  return { orderId: orderIdOf(key), key, protocol, body, sentAt: Date.now(), tries: 0, answer: null };
}
