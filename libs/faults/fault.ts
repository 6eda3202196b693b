/** A fault that is set from outside: point + action + scope + end. */
import { z } from 'zod';
import { faultActions, text } from '#libs/contracts/orders.ts';

const faultScope = z.strictObject({
  orderId: z.uuid().optional(),
  customerId: text(60, 0).optional(),
  dishId: text(60, 0).optional(),
  /** A share of the orders, drawn from the seed and the order's id: the same orders every time. */
  share: z.number().gt(0).max(1).optional(),
  seed: z.int().default(1),
});

export const fault = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,40}$/),
  at: z.string().max(60),
  do: z.enum(faultActions),
  /** How long a delay lasts, in milliseconds. */
  ms: z.int().min(1).max(60_000).default(1_000),
  scope: faultScope.prefault({}),
  /** Ends after so many hits, counted over all replicas. */
  hitsMax: z.int().min(1).max(1_000_000).optional(),
  /** Ends at this time. */
  until: z.iso.datetime().optional(),
});
export type Fault = z.output<typeof fault>;

export const faultsBody = z.strictObject({
  items: z.array(fault.partial({ id: true })).max(50),
});

export type FaultSubject = { orderId: string; customerId: string; dishIds: string };

/** Whether the fault is about this order. Pure: the draw of a share depends on nothing but seed and id. */
export function inScope({ scope, until }: Fault, subject: FaultSubject, now: Date): boolean {
  if (until && now >= new Date(until)) return false;
  if (scope.orderId && scope.orderId !== subject.orderId) return false;
  if (scope.customerId && scope.customerId !== subject.customerId) return false;
  if (scope.dishId && !subject.dishIds.split(',').includes(scope.dishId)) return false;
  if (scope.share && draw(scope.seed, subject.orderId) >= scope.share) return false;
  return true;
}

/** A number in [0, 1) by FNV-1a, finished with the mixer of MurmurHash3 so that near ids draw far numbers. */
function draw(seed: number, text: string): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
