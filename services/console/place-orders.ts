/**
 * `POST /api/orders`: takes orders in one by one and hands them over to the order service, or to the coordinator when
 * they are to be run by two-phase commit, and answers each when it is accepted or, if asked to wait, when it has ended.
 */
import { randomUUIDv7 } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import { endStatuses, type Order } from '#libs/contracts/orders.ts';
import { type FinishedAnswer, type HandoverAnswer, orderBytesMax } from '#libs/contracts/placing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  sendProblemBody,
} from '#libs/service/http.ts';
import { assertOperator } from '#libs/service/operator.ts';
import { currentTraceparent } from '#libs/telemetry/trace-context.ts';
import type { GatewayConfig } from './config.ts';
import { createHandover } from './handover.ts';
import type { Upstreams } from './pass-on.ts';
import { readIdempotencyKey, readWaitMs } from './preferences.ts';
import { createWaiters, type Waiter } from './waiters.ts';

export function placingRoutes(
  app: FastifyInstance,
  upstreams: Upstreams,
  connection: NatsConnection,
  config: GatewayConfig,
): void {
  const waiters = createWaiters(connection, (error) => app.log.warn({ err: error }, 'an end was not heard'));
  const inFlight = new Set<string>();
  const handOver = createHandover(upstreams, () => inFlight.size);

  app.post('/api/orders', async (request, reply) => {
    if (isDeeper(request.body, bodyDepthMax)) throw new Problem('invalid-request', undefined, tooDeep);
    if (isLongerWritten(request)) throw new Problem('body-too-large', tooLong);
    // Where faults are off, who takes the order in refuses it.
    if (config.FAULTS && carriesFaults(request.body)) {
      assertOperator(request, config, 'order with faults');
    }
    const key = readIdempotencyKey(request.headers['idempotency-key']);
    const waitMs = readWaitMs(request.headers.prefer);
    const orderId = key === undefined ? randomUUIDv7() : orderIdOf(key);
    if (inFlight.has(orderId)) throw new Problem('idempotency-key-in-flight');
    inFlight.add(orderId);
    const body: unknown = request.body ?? null;
    if (isTwoPhase(body)) {
      const order = { orderId, keyed: key !== undefined, traceparent: currentTraceparent(), body };
      const placing = upstreams.placeInTransaction(order).finally(() => inFlight.delete(orderId));
      return answerFinished(reply, await placing);
    }
    // Before the order is placed, so that its end cannot be missed.
    const waiter = waitMs > 0 ? waiters.wait(orderId, waitMs) : undefined;
    try {
      const traceparent = currentTraceparent();
      const placed = await handOver({ orderId, keyed: key !== undefined, traceparent, body });
      return await answer(reply, placed, waiter, waitMs);
    } finally {
      inFlight.delete(orderId);
      waiter?.giveUp();
    }
  });

  /** Two-phase commit has no acceptance before its end: whoever asks waits for the whole transaction. */
  function answerFinished(reply: FastifyReply, answer: FinishedAnswer): FastifyReply {
    if ('problem' in answer) return sendProblemBody(reply, answer.problem);
    reply.header('Location', `/api/orders/${answer.finished.orderId}`);
    if (answer.replayed) reply.header('Idempotency-Replayed', 'true');
    return reply.code(201).send(answer.finished);
  }

  /** 202 with the order as it was accepted, or 201 with the finished one when the caller waits for it. */
  async function answer(
    reply: FastifyReply,
    placed: HandoverAnswer,
    waiter: Waiter | undefined,
    waitMs: number,
  ): Promise<FastifyReply> {
    if ('problem' in placed) return sendProblemBody(reply, placed.problem);
    const { accepted, current } = placed;
    reply.header('Location', `/api/orders/${accepted.orderId}`);
    if (current) reply.header('Idempotency-Replayed', 'true');
    if (!waiter) return reply.code(202).send(accepted);
    reply.header('Preference-Applied', `wait=${waitMs / 1000}`);
    const order = await endOf(accepted, current, waiter);
    return reply.code(isEnded(order) ? 201 : 202).send(order);
  }

  async function endOf(accepted: Order, current: Order | null, waiter: Waiter): Promise<Order> {
    // A repeat may have ended long ago: nothing more will be heard of it.
    if (current && isEnded(current)) return current;
    const end = await waiter.end;
    if (end) return { ...accepted, ...end };
    const { status, body } = await upstreams.send('order', {
      method: 'GET',
      path: `/orders/${accepted.orderId}`,
    });
    return status === 200 ? JSON.parse(body.toString()) : accepted;
  }
}

/** All that the gateway reads of a body are these two: who takes it in parses it. */
const carriesFaults = (body: unknown): boolean => {
  const { faults } = (body ?? {}) as { faults?: unknown };
  return faults !== undefined && !(Array.isArray(faults) && faults.length === 0);
};
const isTwoPhase = (body: unknown): boolean => (body as { protocol?: unknown } | null)?.protocol === '2pc';

/** Deeper than any order. JSON of any depth can be read, but not written again: it would fail its whole batch. */
const bodyDepthMax = 8;
const tooDeep = { errors: [{ field: '(whole)', message: `nested deeper than ${bodyDepthMax}` }] };

function isDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((inner) => isDeeper(inner, depth - 1));
}

/** Written again, `1e20` has 21 digits, and a control character of a text has six. A normal order is not looked at. */
const growthMax = 6;
const tooLong = `its numbers and texts, written out, take more than ${orderBytesMax / 1024} KB`;

/** It would fail its whole batch, too. One that came in chunks has not said how long it is. */
function isLongerWritten({ headers, body }: FastifyRequest): boolean {
  const cameBytes = Number(headers['content-length'] ?? orderBytesMax);
  if (cameBytes * growthMax <= orderBytesMax) return false;
  return Buffer.byteLength(JSON.stringify(body ?? null)) > orderBytesMax;
}

const isEnded = ({ status }: Pick<Order, 'status'>) => endStatuses.includes(status);
