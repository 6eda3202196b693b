import type { Items } from '#libs/contracts/orders.ts';
import { statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { done, type Step, type Undo } from '#libs/step/step.ts';
import { sumBy } from '#libs/step/sum.ts';
import { decideReservations, type Reserve } from './decide.ts';

type Reservation = { orderId: string; items: Items };
type Locked = { free: Map<string, number>; reservations: Map<string, Reservation> };

export const reserve: Step<Reserve, Locked, Record<string, never>> = {
  name: 'inventory.reserve',
  undoName: 'inventory.release',
  lock: lockStock,
  perform: reserveStock,
  undo: releaseStock,
};

const selectReservations = statement<Reservation>(`
  select order_id as "orderId", items from reservations where order_id = any($1::uuid[])`);

const selectStock = statement<{ dishId: string; free: number }>(`
  select dish_id as "dishId", free from stock where dish_id = any($1::text[]) order by dish_id for update`);

async function lockStock(tx: Tx, reserves: readonly Reserve[], undos: readonly Undo[]): Promise<Locked> {
  // A reservation is only ever changed by the one who holds its journal entry: no lock of its own.
  const found =
    undos.length === 0
      ? []
      : await selectReservations(
          tx,
          undos.map(({ orderId }) => orderId),
        );
  const dishes = new Set([...reserves, ...found].flatMap(({ items }) => items.map(({ dishId }) => dishId)));
  const rows = await selectStock(tx, [...dishes]);
  return {
    free: new Map(rows.map(({ dishId, free }) => [dishId, free])),
    reservations: new Map(found.map((reservation) => [reservation.orderId, reservation])),
  };
}

const insertReservations = statement(`
  insert into reservations (order_id, items, status)
  select order_id, items, 'reserved' from unnest($1::uuid[], $2::jsonb[]) as taken (order_id, items)`);

const moveToReserved = statement(`
  update stock s set free = s.free - change.quantity, reserved = s.reserved + change.quantity
  from unnest($1::text[], $2::bigint[]) as change (dish_id, quantity)
  where s.dish_id = change.dish_id`);

async function reserveStock(tx: Tx, reserves: readonly Reserve[], { free }: Locked) {
  const outcomes = decideReservations(free, reserves);
  const taken = reserves.filter((_, index) => outcomes[index]?.outcome === 'done');
  if (taken.length > 0) {
    const orderIds = taken.map(({ orderId }) => orderId);
    const portions = portionsOf(taken, 1);
    tx.write(
      insertReservations(
        tx,
        orderIds,
        taken.map(({ items }) => JSON.stringify(items)),
      ),
    );
    tx.write(moveToReserved(tx, [...portions.keys()], [...portions.values()]));
  }
  return outcomes;
}

const markReleased = statement(
  `update reservations set status = 'released' where order_id = any($1::uuid[])`,
);

async function releaseStock(tx: Tx, undos: readonly Undo[], { reservations }: Locked) {
  const given = undos.flatMap(({ orderId }) => reservations.get(orderId) ?? []);
  const portions = portionsOf(given, -1);
  tx.write(
    markReleased(
      tx,
      given.map(({ orderId }) => orderId),
    ),
  );
  tx.write(moveToReserved(tx, [...portions.keys()], [...portions.values()]));
  return undos.map(() => done({}));
}

const portionsOf = (orders: readonly { items: Items }[], sign: 1 | -1) =>
  sumBy(
    orders.flatMap(({ items }) => items),
    ({ dishId }) => dishId,
    ({ quantity }) => sign * quantity,
  );
