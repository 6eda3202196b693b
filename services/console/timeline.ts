/** One order's story from every service's journal, in causal order: by the saga's logical clock. */
import { orderParams, type TimelineItem } from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { type Upstreams, upstreamNames } from './pass-on.ts';

export function timelineRoutes(app: FastifyInstance, upstreams: Upstreams): void {
  app.get('/api/orders/:orderId/timeline', async (request) => {
    const { orderId } = parse(orderParams, request.params);
    const missing: string[] = [];
    const parts = await Promise.all(
      upstreamNames.map(async (service): Promise<TimelineItem[]> => {
        const answer = await upstreams
          .send(service, { method: 'GET', path: `/journal/${orderId}` })
          .catch(() => undefined);
        if (answer?.status === 200) return JSON.parse(answer.body.toString()).items;
        missing.push(service);
        return [];
      }),
    );
    const items = parts.flat().sort(byLogicalTime);
    if (items.length === 0 && missing.length === 0) throw new Problem('not-found', `no order ${orderId}`);
    // A service that is away takes its part of the story with it; the rest is still worth telling.
    return { items, nextCursor: null, missing };
  });
}

/** Wall time only sorts what is concurrent: it never decides what came before what. */
function byLogicalTime(a: TimelineItem, b: TimelineItem): number {
  if (a.lamport !== b.lamport) return a.lamport - b.lamport;
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.step < b.step ? -1 : 1;
}
