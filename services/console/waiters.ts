/**
 * People who wait for their order's end (`Prefer: wait`). The end is heard on the bus as it is stored, so
 * it does not matter which replica dispatched or cancelled the order, and the event says all there is to
 * know: its time is the order's `endedAt`.
 */
import type { Msg, NatsConnection } from '@nats-io/transport-node';
import type { EventData, EventType, SagaEvent } from '#libs/contracts/events.ts';
import type { Order } from '#libs/contracts/orders.ts';
import { storedEventsPrefix } from '#libs/nats/streams.ts';

export type End = Pick<Order, 'status' | 'reason' | 'endedAt'>;

export type Waiter = {
  /** How the order ended, or undefined when the time is over. */
  end: Promise<End | undefined>;
  giveUp(): void;
};

export type Waiters = { wait(orderId: string, waitMs: number): Waiter };

export function createWaiters(connection: NatsConnection, onTrouble: (error: unknown) => void): Waiters {
  const waiting = new Map<string, (end: End | undefined) => void>();

  const listen = (
    type: EventType,
    status: Order['status'],
    reasonOf: (event: SagaEvent) => string | null,
  ) => {
    const callback = (error: Error | null, message: Msg) => {
      if (error) return onTrouble(error);
      if (waiting.size === 0) return;
      // Not parsed by schema here: whoever may publish on this subject is the broker's to say, and nothing
      // is decided from it. Who waits longer than the time allowed reads the order itself.
      try {
        for (const event of message.json<SagaEvent[]>()) {
          waiting.get(event.subject)?.({ status, reason: reasonOf(event), endedAt: event.time });
        }
      } catch (unreadable) {
        // Thrown further, it would end the connection's reader, and with it all that the gateway hears.
        onTrouble(unreadable);
      }
    };
    connection.subscribe(`${storedEventsPrefix}.${type}`, { callback });
  };
  listen('order.dispatched', 'DISPATCHED', () => null);
  listen('order.cancelled', 'CANCELLED', ({ data }) => (data as EventData<'order.cancelled'>).reason);

  return {
    wait(orderId, waitMs) {
      const { promise, resolve } = Promise.withResolvers<End | undefined>();
      const timer = setTimeout(() => resolve(undefined), waitMs);
      waiting.set(orderId, resolve);
      return {
        end: promise,
        giveUp() {
          clearTimeout(timer);
          waiting.delete(orderId);
        },
      };
    },
  };
}
