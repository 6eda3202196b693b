/**
 * Closed-loop load over HTTP: so many clients, each with one order under way. An order is timed from its
 * POST to the answer that it has ended, which the gateway gives because of `Prefer: wait`, and under two-phase
 * commit always.
 */
import { cities, dishes, wallets } from '#libs/contracts/lab-data.ts';
import { endStatuses, type Order } from '#libs/contracts/orders.ts';
import { type Connection, openConnection } from './connection.ts';
import type { Contender } from './contenders.ts';
import { percentiles } from './percentiles.ts';

const waitSeconds = 20;
const endedEverySeconds = 0.02;
const courierCities = cities.filter((city) => city !== 'lonavala');
const rich = wallets.filter(({ balance }) => balance > 0);
const plenty = dishes.filter(({ stock }) => stock > 0);

export type LoadOptions = {
  /** Of every gateway: clients are spread over them. */
  urls: readonly string[];
  contender: Contender;
  clients: number;
  seconds: number;
  warmUpSeconds: number;
  /** The share of orders that ask for a dish that is sold out, and are refunded. */
  refusals: number;
  /** Every order asks for the same dish. */
  hot: boolean;
  /** How many customers order; all of them unless it says. */
  customers?: number;
  /** Timed to the answer at the end of the order, or to the one that it is accepted; the next one comes after its end. */
  until: 'ended' | 'accepted';
  onMeasuring(): Promise<void>;
  onMeasured(): Promise<void>;
};

export type LoadResult = {
  orders: number;
  ordersPerSecond: number;
  dispatched: number;
  /** Under two-phase commit: refused, with nothing to take back. */
  cancelled: number;
  unfinished: number;
  failed: number;
  latencyMs: { p50: number; p95: number; p99: number };
};

type Counts = Pick<LoadResult, 'dispatched' | 'cancelled' | 'unfinished' | 'failed'>;

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { urls, contender, clients, seconds, warmUpSeconds, until } = options;
  const connections = Array.from({ length: clients }, (_, index) => openConnection(pick(urls, index)));
  const headers = {
    'content-type': 'application/json',
    ...(until === 'ended' && contender.body.protocol === 'saga' ? { prefer: `wait=${waitSeconds}` } : {}),
  };
  const latencies: number[] = [];
  const counts: Counts = { dispatched: 0, cancelled: 0, unfinished: 0, failed: 0 };
  let measuring = false;
  let stopped = false;
  let next = 0;

  const client = async (connection: Connection) => {
    while (!stopped) {
      const body = JSON.stringify(orderOf(next++, options));
      const startedAt = performance.now();
      const { status, text } = await connection.send({ method: 'POST', path: '/api/orders', headers, body });
      const answeredAt = performance.now();
      const answer = JSON.parse(text) as Order | Problem;
      if (until === 'accepted' && 'orderId' in answer) await untilEnded(connection, answer, () => stopped);
      if (!measuring || stopped) continue;
      const became = becameOf(status, answer);
      // What failed is no order: it is counted, and left out of every other figure.
      if (became !== 'failed') latencies.push(answeredAt - startedAt);
      counts[became] += 1;
    }
  };
  const running = Promise.all(connections.map(client));

  await sleep(warmUpSeconds);
  await options.onMeasuring();
  measuring = true;
  const startedAt = performance.now();
  await Promise.race([sleep(seconds), running]);
  const tookSeconds = (performance.now() - startedAt) / 1_000;
  stopped = true;
  await options.onMeasured();
  await running;
  for (const connection of connections) connection.close();
  return {
    orders: latencies.length,
    ordersPerSecond: latencies.length / tookSeconds,
    ...counts,
    latencyMs: percentiles(latencies),
  };
}

/** A client has one order under way: the next one is not timed beside this one's steps. */
async function untilEnded(connection: Connection, order: Order, isStopped: () => boolean): Promise<void> {
  let { status } = order;
  while (!endStatuses.includes(status) && !isStopped()) {
    await sleep(endedEverySeconds);
    const { text } = await connection.send({ method: 'GET', path: `/api/orders/${order.orderId}` });
    status = (JSON.parse(text) as Order).status;
  }
}

type Problem = { code: string };

function becameOf(statusCode: number, answer: Order | Problem): keyof Counts {
  if ('code' in answer) return answer.code === 'order-refused-by-participant' ? 'cancelled' : 'failed';
  if (statusCode >= 300) return 'failed';
  if (answer.status === 'DISPATCHED') return 'dispatched';
  return answer.status === 'CANCELLED' ? 'cancelled' : 'unfinished';
}

const pick = <Item>(items: readonly Item[], index: number): Item => items[index % items.length] as Item;

/** Spread by rule over customers, dishes and cities, so that two runs place the same orders. */
function orderOf(index: number, { contender, refusals, hot, customers = rich.length }: LoadOptions) {
  const refused = refusals > 0 && Math.floor(index * refusals) !== Math.floor((index + 1) * refusals);
  const dishId = refused ? 'truffle-thali' : hot ? 'masala-dosa' : pick(plenty, index * 7).dishId;
  const customerId = pick(rich.slice(0, customers), index * 13).customerId;
  const city = pick(courierCities, index);
  return { customerId, city, items: [{ dishId, quantity: 1 }], ...contender.body };
}

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
