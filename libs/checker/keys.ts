/**
 * I10. Nobody keeps the keys: an order's id is the hash of its key (contracts/order-id.ts), so that one key cannot be
 * two orders in one table. What can go wrong all the same, and shows in the databases: an order that a repeat would
 * not find or would place again, a fingerprint that turns a true repeat away, and two who answer for one key.
 */
import { placeOrderBody, twoPhaseModes } from '#libs/contracts/orders.ts';
import { bodyHashOf } from '#libs/contracts/placing.ts';
import type { Facts, OrderFact } from './facts.ts';
import type { CheckOptions, Found, Violation } from './rules.ts';
import type { AnswerFact } from './two-phase-facts.ts';

export function onePerKey(facts: Facts, _options: CheckOptions): Found {
  const { log } = facts.twoPhase;
  const answers = typeof log === 'string' ? [] : log.answers;
  const violations: Violation[] = [];
  for (const order of facts.orders.values()) {
    const detail = wrongWith(order);
    if (detail !== null) violations.push({ orderId: order.orderId, detail });
  }
  for (const answer of answers) {
    const detail = wrongAnswer(answer, facts.orders.get(answer.orderId));
    if (detail !== null) violations.push({ orderId: answer.orderId, detail });
  }
  return { checked: facts.orders.size + answers.length, violations };
}

/** A UUIDv8 is the hash of a key; ids without one are of version 7. */
const isOfKey = (orderId: string): boolean => orderId[14] === '8';

function wrongWith(order: OrderFact): string | null {
  const { orderId, bodyHash, placed } = order;
  if (isOfKey(orderId) !== (bodyHash !== null)) {
    return bodyHash === null
      ? 'its id is of an Idempotency-Key, but no fingerprint is kept: any body would pass for a repeat'
      : 'came with an Idempotency-Key, but its id is not made from one: a repeat would be another order';
  }
  if (bodyHash === null) return null;
  if (placed !== 'done') {
    return `the journal says ${placed ?? 'nothing'} of how it was placed: a repeat would not find it`;
  }
  // A fault's own words are kept in a shorter form, from which the body cannot be put together again.
  if (order.carriesFaults || bodiesOf(order).some((body) => bodyHashOf(body) === bodyHash)) return null;
  return 'the fingerprint of its key is not that of what was ordered: a true repeat would be turned away';
}

/** The order does not tell how its transaction was run. */
function bodiesOf({ customerId, city, items, protocol }: OrderFact) {
  const modes = protocol === '2pc' ? twoPhaseModes : ['single'];
  return modes.flatMap((twoPhase) => {
    const { data } = placeOrderBody.safeParse({ customerId, city, items, protocol, twoPhase });
    return data ? [data] : [];
  });
}

/** Without an order there is nothing to compare: I8 looks after those. */
function wrongAnswer({ orderId, bodyHash, answer }: AnswerFact, order: OrderFact | undefined): string | null {
  if (isOfKey(orderId) !== (bodyHash !== null)) {
    return `the coordinator answered it with${bodyHash === null ? 'out' : ''} a fingerprint, its id says otherwise`;
  }
  if (bodyHash === null || !answer || !order) return null;
  if (order.protocol !== '2pc')
    return 'placed by the saga, and answered by the coordinator under the same key';
  if (order.bodyHash !== bodyHash) return 'the coordinator keeps another fingerprint of its key';
  const told = textOf(answer);
  const stands = textOf({ ...order, createdAt: order.createdAt.toISOString() });
  return told === stands ? null : `the answer kept under its key says ${told}, the order ${stands}`;
}

const textOf = ({
  protocol,
  customerId,
  city,
  items,
  total,
  traceId,
  createdAt,
}: NonNullable<AnswerFact['answer']>) => {
  const ordered = items.map(({ quantity, dishId }) => `${quantity} ${dishId}`).join(', ');
  return [protocol, customerId, city, ordered, total, traceId, createdAt].join(' ');
};
