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
  shares: { table: 'stock', column: 'dish_id', of: ({ dishIds }) => dishIds.split(',') },
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
  with taken as (
    update stock s set free = s.free - take.quantity, reserved = s.reserved + take.quantity
    from unnest($1::text[], $2::bigint[]) as take (dish_id, quantity)
    where s.dish_id = take.dish_id)
  insert into reservations (order_id, items, status)
  select order_id, items, 'reserved' from unnest($3::uuid[], $4::jsonb[]) as reserved (order_id, items)`);

async function reserveStock(tx: Tx, reserves: readonly Reserve[], { free }: Locked) {
  const outcomes = decideReservations(free, reserves);
  const reserved = reserves.filter((_, index) => outcomes[index]?.outcome === 'done');
  if (reserved.length > 0) {
    const portions = portionsByDish(reserved);
    const orderIds = reserved.map(({ orderId }) => orderId);
    const items = reserved.map((order) => JSON.stringify(order.items));
    tx.write(insertReservations(tx, [...portions.keys()], [...portions.values()], orderIds, items));
  }
  return outcomes;
}

const markReleased = statement(`
  with given as (
    update stock s set free = s.free + give.quantity, reserved = s.reserved - give.quantity
    from unnest($1::text[], $2::bigint[]) as give (dish_id, quantity)
    where s.dish_id = give.dish_id)
  update reservations set status = 'released' where order_id = any($3::uuid[])`);

async function releaseStock(tx: Tx, undos: readonly Undo[], { reservations }: Locked) {
  const released = undos.flatMap(({ orderId }) => reservations.get(orderId) ?? []);
  const portions = portionsByDish(released);
  const orderIds = released.map(({ orderId }) => orderId);
  tx.write(markReleased(tx, [...portions.keys()], [...portions.values()], orderIds));
  return undos.map(() => done({}));
}

const portionsByDish = (orders: readonly { items: Items }[]) =>
  sumBy(
    orders.flatMap(({ items }) => items),
    ({ dishId }) => dishId,
    ({ quantity }) => quantity,
  );
