/**
 * Orders on their way to the order service, in batches: while one is on its way the next gathers, as everywhere. A
 * request per order took a third of the order service's CPU.
 */
import { type HandedOver, type HandoverAnswer, handoverMax } from '#libs/contracts/placing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { Replica } from '#libs/service/replicas.ts';
import { type Gatherer, gather } from '#libs/step/gather.ts';
import type { Upstreams } from './pass-on.ts';

/**
 * What PostgreSQL calls commit_delay and commit_siblings: where so many requests are under way, more orders come in a
 * moment, and a batch that has waited for them stays together through all the steps (docs/performance.md).
 */
const gatherMs = 8;
const siblingsMin = 16;

type Parcel = { order: HandedOver; resolve(answer: HandoverAnswer): void; reject(error: unknown): void };

type HandOver = (order: HandedOver) => Promise<HandoverAnswer>;

/** A queue for each replica of the order service, so that all of them work at once. */
export function createHandover(upstreams: Upstreams, requestsUnderWay: () => number): HandOver {
  const pauseMs = () => (requestsUnderWay() < siblingsMin ? 0 : gatherMs);
  const queues = new WeakMap<Replica, Gatherer<Parcel>>();
  return (order) =>
    new Promise((resolve, reject) => {
      shortest(upstreams.spread('order').map(queueOf)).push([{ order, resolve, reject }]);
    });

  function queueOf(replica: Replica): Gatherer<Parcel> {
    const queue = queues.get(replica) ?? createQueue(upstreams, replica, pauseMs);
    queues.set(replica, queue);
    return queue;
  }
}

/** Of those that wait least, the one whose turn it is: a replica that stands still collects one batch, and no more. */
const shortest = (queues: readonly Gatherer<Parcel>[]): Gatherer<Parcel> =>
  queues.reduce((best, queue) => (queue.waiting() < best.waiting() ? queue : best));

function createQueue(upstreams: Upstreams, first: Replica, pauseMs: () => number): Gatherer<Parcel> {
  return gather<Parcel>({
    batchMax: handoverMax,
    pauseMs,
    keyOf: ({ order }) => order.orderId,
    async run(parcels) {
      try {
        const body = JSON.stringify({ orders: parcels.map(({ order }) => order) });
        const headers = { 'content-type': 'application/json' };
        // Goes to another replica only when it was never sent. After that it may be under way, and a batch that ends
        // the process that takes it must not end the next one; the client repeats it under its key.
        const answer = await upstreams.send('order', {
          method: 'POST',
          path: '/orders',
          headers,
          body,
          first,
        });
        if (answer.status !== 200)
          throw new Problem('service-unavailable', `order answered ${answer.status}`);
        const { answers } = JSON.parse(answer.body.toString()) as { answers: HandoverAnswer[] };
        parcels.forEach(({ resolve, reject }, index) => {
          const one = answers[index];
          if (one) resolve(one);
          else reject(new Problem('service-unavailable', 'order left an order unanswered'));
        });
      } catch (error) {
        for (const { reject } of parcels) reject(error);
      }
    },
  });
}
