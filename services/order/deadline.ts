/**
 * The watchdog: asks for the cancellation of orders that are late. Safe in any number of replicas, because
 * asking is a step like any other: the journal lets it take effect once.
 */
import { and, inArray, isNull, lt, sql } from 'drizzle-orm';
import type { ServiceContext } from '#libs/service/definition.ts';
import { repeat } from '#libs/step/repeat.ts';
import { causeFor } from './cause.ts';
import { orders } from './schema.ts';

const tickMs = 500;
const lateMax = 200;

/** Late orders that were asked about: how often in vain, and whether an answer is still out. */
type Asked = Map<string, { rounds: number; open: boolean }>;

export function startWatchdog(context: ServiceContext): { stop(): Promise<void> } {
  const asked: Asked = new Map();
  return repeat({
    pauseMs: tickMs,
    work: () => cancelLate(context, asked),
    onTrouble: (error) => context.log.warn({ err: error }, 'the watchdog tries again'),
  });
}

/** Answers are not waited for: an order whose answer is slow must not hold up the other late ones. */
async function cancelLate({ db, log, request }: ServiceContext, asked: Asked): Promise<void> {
  for (const row of await lateOrders(db, lateMax + asked.size)) {
    const { orderId } = row;
    const before = asked.get(orderId) ?? { rounds: 0, open: false };
    if (before.open) continue;
    asked.set(orderId, { rounds: before.rounds + 1, open: true });
    request('request:deadline', causeFor(row, 'deadline passed'), before.rounds).then(
      () => asked.delete(orderId),
      (error) => {
        asked.set(orderId, { rounds: before.rounds + 1, open: false });
        log.warn({ err: error, orderId }, 'the watchdog asks again');
      },
    );
  }
}

/**
 * By the database's clock, the longest overdue first. `statement_timestamp()` and not `clock_timestamp()`: what may change while a
 * statement runs cannot be looked up in an index, and the whole table would be read (measured: a tenth of an order's CPU).
 */
export const lateOrders = (db: ServiceContext['db'], max: number) =>
  db
    .select()
    .from(orders)
    .where(
      and(
        isNull(orders.endedAt),
        lt(orders.deadline, sql`statement_timestamp()`),
        inArray(orders.status, ['PENDING', 'CONFIRMED']),
      ),
    )
    .orderBy(orders.deadline)
    .limit(max);
