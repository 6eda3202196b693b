/**
 * Open-loop load: orders come when they come (Poisson, by the seed), however long the others take, as people place
 * them who do not give up: under an Idempotency-Key, at one gateway after the other, until the answer is one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Order, OrderStatus, Protocol } from '#libs/contracts/orders.ts';
import { drawOrder } from './draw-order.ts';
import { seeded } from './random.ts';
import { pauseMs } from './tried.ts';

export type Placed = {
  orderId: string;
  key: string;
  body: object;
  tries: number;
  /** `null` while nothing is known; the last word otherwise. */
  answer: Answer | null;
};

/** A refusal has a code, an order that was taken its id and its status. */
export type Answer = {
  status: number;
  code: string | null;
  orderId: string | null;
  orderStatus: OrderStatus | null;
};

export type OpenLoad = {
  readonly orders: readonly Placed[];
  /** No more orders come; resolves when every one is answered, or has been given up. */
  stop(): Promise<void>;
  /** The same request again at the same or another gateway. */
  ask(placed: Placed, gateway: number): Promise<Answer | null>;
};

/** How long orders are repeated when no more of them come: as long as others are still being answered. */
export type Patience = { silentMsMax: number; msMax: number };

export type OpenLoadOptions = {
  urls: readonly string[];
  seed: number;
  ordersPerSecond: number;
  protocol: Protocol | 'both';
  patience?: Patience;
};

/** Silence, and not slowness, is what tells that nothing more comes: a machine may be slow for many minutes. */
const patient: Patience = { silentMsMax: 60_000, msMax: 900_000 };
const answerMsMax = 10_000;
const waitSeconds = 5;

export function startOpenLoad(options: OpenLoadOptions): OpenLoad {
  const { urls, seed, ordersPerSecond, protocol, patience = patient } = options;
  const random = seeded(seed ^ 0x5eed);
  // Of its own, because how often it is asked depends on the machine, and the orders must not.
  const jitter = seeded(seed ^ 0x717e);
  const agent = new Agent({ connections: 64, headersTimeout: answerMsMax, bodyTimeout: answerMsMax });
  const orders: Placed[] = [];
  const underWay = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;
  /** Infinity while orders come: nobody gives up before the storm is over. */
  let stoppedAtMs = Number.POSITIVE_INFINITY;
  let answeredAtMs = 0;

  const ask = (placed: Placed, gateway: number) =>
    askOnce(agent, urls[gateway % urls.length] as string, placed);

  const isHopeless = () => {
    const nowMs = performance.now();
    const silentMs = nowMs - Math.max(stoppedAtMs, answeredAtMs);
    return silentMs > patience.silentMsMax || nowMs - stoppedAtMs > patience.msMax;
  };

  const placeUntilAnswered = async (placed: Placed, first: number) => {
    for (let turn = first; ; turn++) {
      placed.tries += 1;
      placed.answer = await ask(placed, turn);
      if (placed.answer !== null) answeredAtMs = performance.now();
      if (placed.answer !== null || isHopeless()) return;
      await delay(pauseMs(placed.tries, jitter));
    }
  };

  const next = () => {
    const order = drawOrder(random, `storm-${seed}-${orders.length}`, protocol);
    const placed: Placed = { ...order, tries: 0, answer: null };
    const placing = placeUntilAnswered(placed, orders.push(placed));
    underWay.add(placing);
    void placing.finally(() => underWay.delete(placing));
    timer = setTimeout(next, (-Math.log(1 - random.next()) * 1_000) / ordersPerSecond);
  };
  next();

  return {
    orders,
    ask,
    async stop() {
      clearTimeout(timer);
      stoppedAtMs = performance.now();
      await Promise.all(underWay);
    },
  };
}

async function askOnce(agent: Agent, url: string, { key, body }: Placed): Promise<Answer | null> {
  try {
    const response = await request(`${url}/api/orders`, {
      dispatcher: agent,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key, prefer: `wait=${waitSeconds}` },
      body: JSON.stringify(body),
    });
    const said = (await response.body.json()) as Partial<Order> & { code?: string };
    const { statusCode: status } = response;
    const { orderId = null, status: orderStatus = null } = said;
    if (status < 300) return { status, code: null, orderId, orderStatus };
    const code = said.code ?? `status-${status}`;
    return isPassing(status, code) ? null : { status, code, orderId: null, orderStatus: null };
  } catch {
    return null; // Refused, reset or too late: whether it took effect is unknown, and the next try finds out.
  }
}

/** What may be different the next time: nobody there, nothing known, too much to do, or somebody else at it. */
const isPassing = (status: number, code: string): boolean =>
  status >= 500 || status === 408 || code === 'idempotency-key-in-flight' || code === 'too-many-requests';
