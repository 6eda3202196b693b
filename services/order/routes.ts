import { randomUUIDv7 } from 'node:crypto';
import { and, desc, eq, sql } from 'drizzle-orm';
import { cancelBody, endStatuses, type Order, orderListQuery, orderParams } from '#libs/contracts/orders.ts';
import { type HandedOver, type HandoverAnswer, handover, handoverBytesMax } from '#libs/contracts/placing.ts';
import type { Menu, MenuAnswer } from '#libs/contracts/pricing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { ServiceContext } from '#libs/service/definition.ts';
import { type FastifyInstance, parse, toProblem } from '#libs/service/http.ts';
import { page } from '#libs/service/page.ts';
import { traceIdOf } from '#libs/telemetry/trace-context.ts';
import { causeFor } from './cause.ts';
import { createDatabaseClock } from './clock.ts';
import { createMenu } from './menu.ts';
import { type Placed, placeOrder } from './place.ts';
import { journal, orders } from './schema.ts';
import { place } from './step.ts';

type Row = typeof orders.$inferSelect;

/** After the coordinator's abort, in the order's timeline. */
const barredLamport = 3;

export function routes(app: FastifyInstance, context: ServiceContext): void {
  const { db } = context;
  const menu = createMenu(context);
  const databaseNow = createDatabaseClock(context);

  async function rowOf(orderId: string): Promise<Row> {
    const [row] = await db.select().from(orders).where(eq(orders.orderId, orderId));
    if (!row) throw new Problem('not-found', `no order ${orderId}`);
    return row;
  }

  app.post('/orders', { bodyLimit: handoverBytesMax }, async (request) => {
    const { orders: handedOver } = parse(handover, request.body);
    const [dishes, now] = await Promise.all([menu(), databaseNow()]);
    return { answers: await Promise.all(handedOver.map((one) => answerTo(dishes, now, one))) };
  });

  async function answerTo(dishes: Menu, now: Date, one: HandedOver): Promise<HandoverAnswer> {
    try {
      const placed = await placeOrder(context, dishes, now, one);
      return placed.repeated ? await recall(placed) : { accepted: placed.accepted, current: null };
    } catch (error) {
      if (!(error instanceof Problem)) context.log.error({ err: error }, 'an order could not be placed');
      return { problem: toProblem(error).toBody() };
    }
  }

  /** The order that this key placed before. Another body under the same key is somebody's mistake. */
  async function recall({ accepted, bodyHash }: Placed): Promise<HandoverAnswer> {
    const [row] = await db.select().from(orders).where(eq(orders.orderId, accepted.orderId));
    if (!row) throw await refusalOf(accepted.orderId);
    if (row.bodyHash !== bodyHash) throw new Problem('idempotency-key-reused');
    const current = toOrder(row);
    return { accepted: { ...current, status: 'PENDING', reason: null, endedAt: null }, current };
  }

  /** An order that was refused at the door left no row, only its journal entry: the same answer again. */
  async function refusalOf(orderId: string): Promise<Problem> {
    const [entry] = await db.select().from(journal).where(eq(journal.orderId, orderId));
    if (entry?.outcome === 'barred') return new Problem('idempotency-key-reused');
    return new Problem('order-refused', entry?.reason ?? undefined);
  }

  /**
   * The coordinator has answered this order's key with a refusal, so no saga may place it. The one write that
   * is no step: it does nothing but keep one from ever running, by the same barrier that an undo has.
   */
  app.post('/orders/:orderId/bar', async (request, reply) => {
    const { orderId } = parse(orderParams, request.params);
    const barred = { orderId, step: place.name, direction: 'do', outcome: 'barred' } as const;
    const noted = { lamport: barredLamport, causationId: randomUUIDv7(), attempt: 1, recordedAt: new Date() };
    await db
      .insert(journal)
      .values({ ...barred, ...noted })
      .onConflictDoNothing();
    return reply.code(204).send();
  });

  app.get('/menu', async (): Promise<MenuAnswer> => {
    const { prices, cities } = await menu();
    return { prices: [...prices], cities: [...cities] };
  });

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
  // Other years than four digits hold are no times to PostgreSQL.
  const isTime = /^\d{4}-/.test(time) && !Number.isNaN(createdAt.getTime());
  if (!isTime || !orderParams.safeParse({ orderId }).success) {
    throw new Problem('invalid-cursor', undefined, {
      errors: [{ field: 'cursor', message: 'not one of ours' }],
    });
  }
  return { createdAt, orderId };
}
