/** An order's timeline, followed while it grows. */
import { endStatuses, type Order, type TimelineItem } from '#libs/contracts/orders.ts';
import type { LabApi } from './api.ts';

const pollMs = 150;
/** After the end, listeners such as notification still write their lines. */
const afterEndMs = 450;

export type Story = {
  order: Order;
  ended: boolean;
  /** Services that could not be asked for their part of the last look. */
  missing: string[];
};

type Timeline = { items: TimelineItem[]; missing: string[] };

/** Tells every line once, causes before effects, until the order has ended or the time is over. */
export async function followStory(
  api: LabApi,
  orderId: string,
  timeoutMs: number,
  onLine: (item: TimelineItem) => void,
): Promise<Story> {
  const deadline = performance.now() + timeoutMs;
  const tell = teller(onLine);
  let quietAt: number | undefined;
  for (;;) {
    // The order is read first: once it has ended, the timeline holds all that led there.
    const { body: order } = await api.request<Order>('GET', orderPath(orderId));
    const { body: timeline } = await api.request<Timeline>('GET', `${orderPath(orderId)}/timeline`);
    const ended = endStatuses.includes(order.status);
    const now = performance.now();
    if (ended) quietAt ??= now + afterEndMs;
    const isLast = now >= Math.min(deadline, quietAt ?? deadline);
    tell(timeline.items, isLast);
    if (isLast) return { order, ended, missing: timeline.missing };
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

const orderPath = (orderId: string): string => `/api/orders/${encodeURIComponent(orderId)}`;

/**
 * One look asks the services at slightly different moments, so it can show an effect without its cause. A
 * line whose cause is not known waits for the next look, which is sure to show the cause if there is one;
 * a request has none.
 */
function teller(onLine: (item: TimelineItem) => void) {
  const told = new Set<string>();
  const saidEvents = new Set<string>();
  const waited = new Set<string>();

  return (items: readonly TimelineItem[], tellAll: boolean): void => {
    for (const item of items) {
      const key = `${item.service} ${item.step}`;
      if (told.has(key)) continue;
      const isCauseKnown = item.causationId !== null && saidEvents.has(item.causationId);
      if (!isCauseKnown && !tellAll && item.lamport > 1 && !waited.has(key)) {
        waited.add(key);
        continue;
      }
      told.add(key);
      if (item.eventId !== null) saidEvents.add(item.eventId);
      onLine(item);
    }
  };
}
