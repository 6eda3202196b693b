import type { OrderStatus } from '#libs/contracts/orders.ts';

/** Every move that an order can make; no other exists. */
export const moves = {
  confirm: { from: ['PENDING'], to: 'CONFIRMED' },
  dispatch: { from: ['CONFIRMED'], to: 'DISPATCHED' },
  'request-cancellation': { from: ['PENDING', 'CONFIRMED'], to: 'CANCELLING' },
  cancel: { from: ['PENDING', 'CONFIRMED', 'CANCELLING'], to: 'CANCELLED' },
} as const satisfies Record<string, { from: readonly OrderStatus[]; to: OrderStatus }>;

export type Move = keyof typeof moves;

export type MoveDecision = { allowed: true } | { allowed: false; reason: string };

/** Whether an order in this state may move. Touches nothing. */
export function decideMove(status: OrderStatus | undefined, move: Move): MoveDecision {
  if (status === undefined) return { allowed: false, reason: 'unknown order' };
  const from: readonly OrderStatus[] = moves[move].from;
  return from.includes(status) ? { allowed: true } : { allowed: false, reason: `the order is ${status}` };
}
