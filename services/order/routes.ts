import { randomUUIDv7 } from 'node:crypto';
import { and, desc, eq, inArray, sql } from 'drizzle-orm';
import {
  cancelBody,
  endStatuses,
  type Order,
  orderListQuery,
  orderParams,
  placeOrderBody,
} from '#libs/contracts/orders.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, type FastifyReply, parse } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import { causeFor } from './cause.ts';
import { createMenu } from './menu.ts';
import { orderIdOf, type Placed, placeOrder } from './place.ts';
import { readIdempotencyKey, readWaitMs } from './preferences.ts';
import { journal, orders } from './schema.ts';
import { createWaiters } from './waiters.ts';

type Row = typeof orders.$inferSelect;

export function routes(app: FastifyInstance, context: ServiceContext): void {
  const { db, log } = context;
  const menu = createMenu(context);
  const inFlight = new Set<string>();

  const readRows = (orderIds: string[]) => db.select().from(orders).where(inArray(orders.orderId, orderIds));
  const readOrders = async (orderIds: string[]) => (await readRows(orderIds)).map(toOrder);
  const waiters = createWaiters(context.connection, readOrders, (error) => {
    log.warn({ err: error }, 'an end could not be told to those who wait; they will read it');
  });

  async function rowOf(orderId: string): Promise<Row> {
    const [row] = await readRows([orderId]);
    if (!row) throw new Problem('not-found', `no order ${orderId}`);
    return row;
  }

  app.post('/orders', async (request, reply) => {
    const body = parse(placeOrderBody, request.body);
    const key = readIdempotencyKey(request.headers['idempotency-key']);
    const waitMs = readWaitMs(request.headers.prefer);
    if (key !== undefined && inFlight.has(key)) throw new Problem('idempotency-key-in-flight');
    const orderId = key === undefined ? randomUUIDv7() : orderIdOf(key);
    // Before the order is placed, so that its end cannot be missed.
    const ended = waitMs > 0 ? waiters.wait(orderId, waitMs) : undefined;
    if (key !== undefined) inFlight.add(key);
    try {
      const placed = await placeOrder(context, await menu(), body, orderId);
      return await answer(reply, placed.repeated ? await recall(placed) : placed, waitMs, ended?.order);
    } finally {
      if (key !== undefined) inFlight.delete(key);
      ended?.giveUp();
    }
  });

  /** The order that this key placed before. Another body under the same key is somebody's mistake. */
  async function recall(placed: Placed): Promise<Placed> {
    const [row] = await readRows([placed.accepted.orderId]);
    if (!row) throw await refusalOf(placed.accepted.orderId);
    if (row.bodyHash !== placed.bodyHash) throw new Problem('idempotency-key-reused');
    return { ...placed, accepted: { ...toOrder(row), status: 'PENDING', reason: null, endedAt: null } };
  }

  /** An order that was refused at the door left no row, only its journal entry: the same answer again. */
  async function refusalOf(orderId: string): Promise<Problem> {
    const [entry] = await db.select().from(journal).where(eq(journal.orderId, orderId));
    return new Problem('order-refused', entry?.reason ?? undefined);
  }

  /** 202 with the order as it was accepted, or 201 with the finished one when the caller waits for it. */
  async function answer(
    reply: FastifyReply,
    { accepted, repeated }: Placed,
    waitMs: number,
    ended: Promise<Order | undefined> | undefined,
  ) {
    const { orderId } = accepted;
    reply.header('Location', `/api/orders/${orderId}`);
    if (repeated) reply.header('Idempotency-Replayed', 'true');
    if (!ended) return reply.code(202).send(accepted);
    reply.header('Preference-Applied', `wait=${waitMs / 1000}`);
    // A repeat may have ended long ago: nothing more will be heard of it.
    const now = repeated ? toOrder(await rowOf(orderId)) : accepted;
    const order = isEnded(now) ? now : ((await ended) ?? toOrder(await rowOf(orderId)));
    return reply.code(isEnded(order) ? 201 : 202).send(order);
  }

  app.get('/orders/:orderId', async (request) => {
    const { orderId } = parse(orderParams, request.params);
    return toOrder(await rowOf(orderId));
  });

  app.get('/orders', async (request) => {
    const { status, cursor, limit } = parse(orderListQuery, request.query);
    const before = cursor === undefined ? undefined : readCursor(cursor);
    const rows = await db
      .select()
      .from(orders)
      .where(
        and(
          status ? eq(orders.status, status) : undefined,
          before
            ? sql`(${orders.createdAt}, ${orders.orderId}) < (${before.createdAt}, ${before.orderId})`
            : undefined,
        ),
      )
      .orderBy(desc(orders.createdAt), desc(orders.orderId))
      .limit(limit + 1);
    return page(rows.map(toOrder), limit, writeCursor);
  });

  app.post('/orders/:orderId/cancel', async (request, reply) => {
    const { orderId } = parse(orderParams, request.params);
    const { reason } = parse(cancelBody, request.body ?? {});
    const row = await rowOf(orderId);
    if (!isEnded(row))
      await context.request('request:cancel-order', causeFor(row, reason ?? 'cancelled by customer'));
    const order = toOrder(await rowOf(orderId));
    if (order.status === 'DISPATCHED') throw new Problem('order-already-dispatched');
    reply.header('Location', `/api/orders/${orderId}`);
    return reply.code(isEnded(order) ? 200 : 202).send(order);
  });
}

const isEnded = ({ status }: Pick<Order, 'status'>) => endStatuses.includes(status);

function toOrder(row: Row): Order {
  const { orderId, status, protocol, customerId, city, items, total, reason } = row;
  const createdAt = row.createdAt.toISOString();
  const endedAt = row.endedAt?.toISOString() ?? null;
  const traceId = traceIdOf(row.traceparent);
  return { orderId, status, protocol, customerId, city, items, total, reason, traceId, createdAt, endedAt };
}

const writeCursor = ({ createdAt, orderId }: Order) => `${createdAt}_${orderId}`;

function readCursor(cursor: string): { createdAt: Date; orderId: string } {
  const [time = '', orderId = ''] = cursor.split('_');
  const createdAt = new Date(time);
  if (Number.isNaN(createdAt.getTime()) || !orderParams.safeParse({ orderId }).success) {
    throw new Problem('invalid-cursor', undefined, {
      errors: [{ field: 'cursor', message: 'not one of ours' }],
    });
  }
  return { createdAt, orderId };
}
