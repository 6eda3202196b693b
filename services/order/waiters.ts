/**
 * People who wait for their order's end (`Prefer: wait`). The end is heard on the bus, as it is published,
 * so it does not matter which replica dispatched or cancelled the order; the state is then read from the
 * database, once for all orders of a message.
 */
import type { Msg, NatsConnection } from '@nats-io/transport-node';
import type { EventType } from '#libs/contracts/events.ts';
import type { Order } from '#libs/contracts/orders.ts';

const ends: readonly EventType[] = ['order.dispatched', 'order.cancelled'];

export type Waiter = {
  /** The order at its end, or undefined when the time is over. */
  order: Promise<Order | undefined>;
  giveUp(): void;
};

export type Waiters = { wait(orderId: string, waitMs: number): Waiter };

export function createWaiters(
  connection: NatsConnection,
  readOrders: (orderIds: string[]) => Promise<Order[]>,
  onTrouble: (error: unknown) => void,
): Waiters {
  const waiting = new Map<string, (order: Order | undefined) => void>();

  const onEnd = async (message: Msg) => {
    if (waiting.size === 0) return;
    const batch = message.json<{ subject: string }[]>();
    const awaited = batch.map(({ subject }) => subject).filter((orderId) => waiting.has(orderId));
    if (awaited.length === 0) return;
    for (const order of await readOrders(awaited)) waiting.get(order.orderId)?.(order);
  };

  for (const subject of ends) {
    connection.subscribe(subject, {
      callback: (error, message) => {
        if (error) onTrouble(error);
        else onEnd(message).catch(onTrouble);
      },
    });
  }

  return {
    wait(orderId, waitMs) {
      const { promise, resolve } = Promise.withResolvers<Order | undefined>();
      const timer = setTimeout(() => resolve(undefined), waitMs);
      waiting.set(orderId, resolve);
      return {
        order: promise,
        giveUp() {
          clearTimeout(timer);
          waiting.delete(orderId);
        },
      };
    },
  };
}
