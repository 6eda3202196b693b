import type { OrderStatus } from '#libs/contracts/orders.ts';
import type { PlaceOrder } from '#libs/contracts/requests.ts';
import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { type Command, done, type Outcome, refused, type Step, type Undo } from '#libs/step/step.ts';
import { decideMove, type Move, moves } from './decide.ts';

export type Place = PlaceOrder & { orderId: string };
type Locked = Map<string, { orderId: string; status: OrderStatus; city: string }>;
type Moved = { city: string };
type MoveCommand = Command & { reason?: string };

export const place: Step<Place, Locked, Record<string, never>> = {
  name: 'order.place',
  undoName: 'order.cancel',
  lock: lockOrders,
  perform: placeOrders,
  undo: cancelOrders,
};

/** The moves of an order that stands. Each is taken back by cancelling the order as a whole. */
export const confirm = moveStep('order.confirm', 'confirm');
export const dispatch = moveStep('order.dispatch', 'dispatch');
export const requestCancellation = moveStep('order.request-cancellation', 'request-cancellation');

const selectOrders = statement<{ orderId: string; status: OrderStatus; city: string }>(`
  select order_id as "orderId", status, city
  from orders where order_id = any($1::uuid[]) order by order_id for update`);

async function lockOrders(tx: Tx, commands: readonly Command[], undos: readonly Command[]): Promise<Locked> {
  // An order that is being placed has no row yet: its journal entry is the lock.
  const standing = [...commands, ...undos].filter((command) => !('bodyHash' in command));
  if (standing.length === 0) return new Map();
  const rows = await selectOrders(
    tx,
    standing.map(({ orderId }) => orderId),
  );
  return new Map(rows.map((row) => [row.orderId, row]));
}

const insertOrders = statement(`
  insert into orders (order_id, status, protocol, customer_id, city, items, total, traceparent, faults,
                      body_hash, created_at, deadline)
  select order_id, 'PENDING', protocol, customer_id, city, items, total, traceparent, faults,
         body_hash, created_at, deadline
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bigint[], $7::text[], $8::text[],
              $9::text[], $10::timestamptz[], $11::timestamptz[])
    as placed (order_id, protocol, customer_id, city, items, total, traceparent, faults, body_hash, created_at, deadline)`);

async function placeOrders(tx: Tx, places: readonly Place[]) {
  const rows = places.map((placed) => ({ ...placed, items: JSON.stringify(placed.items) }));
  const bought = ['orderId', 'protocol', 'customerId', 'city', 'items', 'total'] as const;
  const stamped = ['traceparent', 'faults', 'bodyHash', 'createdAt', 'deadline'] as const;
  tx.write(insertOrders(tx, ...columns(rows, [...bought, ...stamped])));
  return places.map(() => done({}));
}

async function cancelOrders(tx: Tx, undos: readonly Undo[], locked: Locked, at: Date) {
  return moveOrders(tx, 'cancel', undos, locked, at);
}

function moveStep(name: string, move: Move): Step<MoveCommand, Locked, Moved> {
  return {
    name,
    coveredBy: place.name,
    lock: lockOrders,
    perform: (tx, commands, locked, at) => moveOrders(tx, move, commands, locked, at),
  };
}

const updateOrders = statement(`
  update orders o set status = $1, reason = coalesce(moved.reason, o.reason),
                      ended_at = $2
  from unnest($3::uuid[], $4::text[]) as moved (order_id, reason)
  where o.order_id = moved.order_id`);

async function moveOrders(
  tx: Tx,
  move: Move,
  commands: readonly { orderId: string; reason?: string }[],
  locked: Locked,
  at: Date,
): Promise<Outcome<Moved>[]> {
  const outcomes = commands.map(({ orderId }): Outcome<Moved> => {
    const order = locked.get(orderId);
    const decision = decideMove(order?.status, move);
    return decision.allowed && order
      ? done({ city: order.city })
      : refused(decision.allowed ? '' : decision.reason);
  });
  const moved = commands.filter((_, index) => outcomes[index]?.outcome === 'done');
  if (moved.length > 0) {
    const { to } = moves[move];
    const ends = to === 'DISPATCHED' || to === 'CANCELLED';
    const rows = moved.map(({ orderId, reason }) => ({ orderId, reason: reason ?? null }));
    tx.write(updateOrders(tx, to, ends ? at : null, ...columns(rows, ['orderId', 'reason'])));
  }
  return outcomes;
}
