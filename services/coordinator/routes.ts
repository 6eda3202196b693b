import { z } from 'zod';
import { orderParams, type TimelineItem } from '#libs/contracts/orders.ts';
import { type FinishedAnswer, handover, handoverBytesMax } from '#libs/contracts/placing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { answerEach } from '#libs/service/ndjson.ts';
import type { DecisionLog } from './decision-log.ts';
import { type PlaceTools, placeOrder } from './place-orders.ts';
import type { Recovery } from './recovery.ts';

const transactionParams = z.object({ transactionId: z.uuid() });
const lookUpBody = z.strictObject({ transactionIds: z.array(z.uuid()).max(500) });

type RouteTools = PlaceTools & {
  log: DecisionLog;
  recovery: Recovery;
  /** An order and its answer, with what it took, every attempt included. */
  onAnswered(answer: FinishedAnswer, seconds: number): void;
};

export function routes(app: FastifyInstance, { log, recovery, onAnswered, ...tools }: RouteTools): void {
  app.post('/orders', { bodyLimit: handoverBytesMax }, async (request, reply) => {
    const { orders } = parse(handover, request.body);
    answerEach(reply, orders, async (one) => {
      const askedAtMs = performance.now();
      const answer = await placeOrder(one, { ...tools, log });
      onAnswered(answer, (performance.now() - askedAtMs) / 1_000);
      return answer;
    });
  });

  /** An order that was refused left nothing with the participants: only its answer is kept. */
  app.get('/orders/:orderId', async (request) => {
    const { orderId } = parse(orderParams, request.params);
    const found = await log.recall(orderId);
    if (!found) throw new Problem('not-found', `no order ${orderId}`);
    return found.answer;
  });

  /** The decision as a line of the order's story: after the votes, before what the commit lets others hear. */
  app.get('/journal/:orderId', async (request): Promise<{ items: TimelineItem[] }> => {
    const { orderId } = parse(orderParams, request.params);
    const story = await log.story(orderId);
    if (!story) return { items: [] };
    const { outcome, reason, attempt, decidedAt } = story;
    const item = {
      lamport: outcome === 'done' ? 4 : 2,
      type: null,
      service: 'coordinator',
      step: outcome === 'done' ? 'two-phase.commit' : 'two-phase.abort',
      outcome,
      reason,
      attempt,
      time: decidedAt.toISOString(),
      eventId: null,
      causationId: null,
    };
    return { items: [item] };
  });

  /** A participant in doubt asks. A POST, because asking about what nobody runs any more decides it. */
  app.post('/transactions/:transactionId/inquiry', async (request) => {
    const { transactionId } = parse(transactionParams, request.params);
    const decision = await recovery.decisionOf(transactionId);
    if (!decision) throw new Problem('undecided');
    return { transactionId, decision };
  });

  /** Whose orders these transactions are about, as far as the log knows. */
  app.post('/transactions/look-up', async (request) => {
    const { transactionIds } = parse(lookUpBody, request.body);
    const found = await log.read(transactionIds);
    return { items: [...found.values()] };
  });
}
