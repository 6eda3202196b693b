/** Valid events and commands for tests, each field of which a test may replace. */
import { randomUUID } from 'node:crypto';
import type { EventType, SagaEvent } from '#libs/contracts/events.ts';

const someItems = [{ dishId: 'masala-dosa', quantity: 2 }];

/** Data that fits the schema, for every event of the registry. */
const someData: { [T in EventType]: SagaEvent<T>['data'] } = {
  'order.placement.requested': { city: 'bengaluru', items: someItems, total: 24_000 },
  'payment.completed': { items: someItems },
  'payment.failed': { reason: 'insufficient funds' },
  'inventory.reserved': {},
  'inventory.failed': { reason: 'out of stock: masala-dosa' },
  'order.confirmed': { city: 'bengaluru' },
  'logistics.assigned': { courierId: 'bengaluru-courier-01' },
  'order.dispatched': {},
  'logistics.failed': { reason: 'no courier in lonavala' },
  'order.cancellation.requested': { reason: 'cancelled by customer' },
  'logistics.unassigned': { reason: 'cancelled by customer' },
  'inventory.released': { reason: 'cancelled by customer' },
  'payment.refunded': { reason: 'cancelled by customer' },
  'order.cancelled': { reason: 'cancelled by customer' },
};

const sourceOf = (type: EventType) => type.slice(0, type.indexOf('.'));

export function someEvent<T extends EventType>(
  type: T,
  over: Partial<Omit<SagaEvent<T>, 'type'>> = {},
): SagaEvent<T> {
  return {
    specversion: '1.0',
    id: randomUUID(),
    source: sourceOf(type),
    type,
    subject: randomUUID(),
    time: '2026-01-02T03:04:05.678Z',
    data: someData[type],
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    causationid: randomUUID(),
    lamport: 1,
    customerid: 'asha',
    dishids: 'masala-dosa',
    ...over,
  } as SagaEvent<T>;
}
