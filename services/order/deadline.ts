/**
 * The watchdog: asks for the cancellation of orders that are late. Safe in any number of replicas, because
 * asking is a step like any other: the journal lets it take effect once.
 */
import { and, inArray, isNull, lt } from 'drizzle-orm';
import type { ServiceContext } from '#libs/service/definition.ts';
import { causeFor } from './cause.ts';
import { orders } from './schema.ts';

const tickMs = 500;
const lateMax = 200;

export function startWatchdog(context: ServiceContext): { stop(): Promise<void> } {
  let stopping = false;
  let wake: (() => void) | undefined;
  const asked = new Set<string>();

  const loop = async () => {
    while (!stopping) {
      await cancelLate(context, asked).catch((error) =>
        context.log.warn({ err: error }, 'the watchdog tries again'),
      );
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, tickMs);
      });
    }
  };
  const running = loop();

  return {
    async stop() {
      stopping = true;
      wake?.();
      await running;
    },
  };
}

/** Answers are not waited for: an order whose answer is slow (`asked`) must not hold up the other late ones. */
async function cancelLate({ db, log, request }: ServiceContext, asked: Set<string>): Promise<void> {
  const late = await db
    .select()
    .from(orders)
    .where(
      and(
        isNull(orders.endedAt),
        lt(orders.deadline, new Date()),
        inArray(orders.status, ['PENDING', 'CONFIRMED']),
      ),
    )
    .limit(lateMax);
  for (const row of late.filter(({ orderId }) => !asked.has(orderId))) {
    const { orderId } = row;
    const asking = request('request:deadline', causeFor(row, 'deadline passed'));
    asked.add(orderId);
    void asking
      .catch((error) => log.warn({ err: error, orderId }, 'the watchdog asks again'))
      .finally(() => asked.delete(orderId));
  }
}
