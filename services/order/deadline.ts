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

  const loop = async () => {
    while (!stopping) {
      await cancelLate(context).catch((error) =>
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

async function cancelLate({ db, request }: ServiceContext): Promise<void> {
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
  await Promise.all(late.map((row) => request('request:deadline', causeFor(row, 'deadline passed'))));
}
