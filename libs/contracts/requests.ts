/** What a person or the clock asks of a service directly, and the data that comes with it. */
import type { Items, Protocol } from './orders.ts';

export type RequestData = {
  'request:place-order': PlaceOrder;
  'request:cancel-order': { reason: string };
  'request:deadline': { reason: string };
  /** Two-phase commit: the branch's steps, the closing ones once all have agreed, and undo before that. */
  'request:branch': PlaceOrder;
  'request:close-branch': PlaceOrder;
  'request:undo-branch': { reason: string };
};

export type RequestName = keyof RequestData;

/** An order as it was accepted at the door: parsed, priced and stamped. */
export type PlaceOrder = {
  protocol: Protocol;
  customerId: string;
  city: string;
  items: Items;
  total: number;
  traceparent: string;
  faults: string | undefined;
  /** SHA-256 of the parsed body, under an Idempotency-Key: tells a repeat from another order. */
  bodyHash: string | null;
  createdAt: Date;
  deadline: Date;
};
