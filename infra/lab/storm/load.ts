/**
 * Open-loop load: orders come when they come (Poisson, by the seed), however long the others take, as people place
 * them who do not give up: under an Idempotency-Key, at one gateway after the other, until the answer is one.
 */
import { Agent, request } from 'undici';
import { cities, dishes, wallets } from '#libs/contracts/lab-data.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, OrderStatus, Protocol } from '#libs/contracts/orders.ts';
import { type Random, seeded } from './random.ts';

export type Placed = {
  orderId: string;
  key: string;
  body: object;
  tries: number;
  /** `null` while nothing is known; the last word otherwise. */
  answer: { status: number; code: string | null; orderStatus: OrderStatus | null } | null;
};

export type OpenLoad = {
  readonly orders: readonly Placed[];
  /** No more orders come; resolves when every one is answered, or has been given up. */
  stop(): Promise<void>;
  /** The same request again at the same or another gateway. */
  ask(placed: Placed, gateway: number): Promise<Placed['answer']>;
};

export type OpenLoadOptions = {
  urls: readonly string[];
  seed: number;
  ordersPerSecond: number;
  protocol: Protocol | 'both';
};

const answerMsMax = 10_000;
const retryMs = 250;
const giveUpMs = 120_000;
const waitSeconds = 5;
/** What may be different the next time: nobody there, nothing known, or somebody else at it. */
const retriedCodes = [
  'service-unavailable',
  'transaction-aborted',
  'idempotency-key-in-flight',
  'internal-error',
  'too-many-requests',
];

export function startOpenLoad({ urls, seed, ordersPerSecond, protocol }: OpenLoadOptions): OpenLoad {
  const random = seeded(seed ^ 0x5eed);
  const agent = new Agent({ connections: 64, headersTimeout: answerMsMax, bodyTimeout: answerMsMax });
  const orders: Placed[] = [];
  const underWay = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  const ask = (placed: Placed, gateway: number) =>
    askOnce(agent, urls[gateway % urls.length] as string, placed);

  const placeUntilAnswered = async (placed: Placed, first: number) => {
    const deadline = performance.now() + giveUpMs;
    for (let turn = first; performance.now() < deadline; turn++) {
      placed.tries += 1;
      placed.answer = await ask(placed, turn);
      if (placed.answer !== null) return;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  };

  const next = () => {
    if (stopped) return;
    const placed = drawOrder(random, `storm-${seed}-${orders.length}`, protocol);
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
      stopped = true;
      clearTimeout(timer);
      await Promise.all(underWay);
    },
  };
}

async function askOnce(agent: Agent, url: string, { key, body }: Placed): Promise<Placed['answer']> {
  try {
    const response = await request(`${url}/api/orders`, {
      dispatcher: agent,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key, prefer: `wait=${waitSeconds}` },
      body: JSON.stringify(body),
    });
    const said = (await response.body.json()) as Partial<Order> & { code?: string };
    const { statusCode: status } = response;
    if (status < 300) return { status, code: null, orderStatus: said.status ?? null };
    const code = said.code ?? `status-${status}`;
    return retriedCodes.includes(code) ? null : { status, code, orderStatus: null };
  } catch {
    return null; // Refused, reset or too late: whether it took effect is unknown, and the next try finds out.
  }
}

const courierCities = cities.filter((city) => city !== 'lonavala');
const rich = wallets.filter(({ balance }) => balance > 0);
const plenty = dishes.filter(({ stock }) => stock > 0);
/** Few, so that orders meet: on wallets, on dishes, on couriers. */
const customersMax = 40;
const dishesMax = 12;
const shares = { noMoney: 0.03, soldOut: 0.04, noCourier: 0.04 } as const;

/** Mostly orders that can be delivered, and some of each kind that cannot. */
function drawOrder(random: Random, key: string, protocol: Protocol | 'both'): Placed {
  const one = protocol === 'both' ? random.pick(['saga', '2pc'] as const) : protocol;
  const draw = random.next();
  const { noMoney, soldOut, noCourier } = shares;
  const body = {
    customerId: draw < noMoney ? 'ravi' : random.pick(rich.slice(0, customersMax)).customerId,
    city: draw > 1 - noCourier ? 'lonavala' : random.pick(courierCities),
    items: [
      {
        dishId:
          draw > noMoney && draw < noMoney + soldOut
            ? 'truffle-thali'
            : random.pick(plenty.slice(0, dishesMax)).dishId,
        quantity: random.between(1, 3),
      },
    ],
    protocol: one,
    ...(one === '2pc' && random.next() < 0.5 ? { twoPhase: 'grouped' } : {}),
  };
  return { orderId: orderIdOf(key), key, body, tries: 0, answer: null };
}
