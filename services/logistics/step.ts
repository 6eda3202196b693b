import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { done, type Step, type Undo } from '#libs/step/step.ts';
import { type Assign, decideAssignments } from './decide.ts';

type Locked = { couriersOf: Map<string, string[]> };

export const assign: Step<Assign, Locked, { courierId: string }> = {
  name: 'logistics.assign',
  undoName: 'logistics.unassign',
  lock: readCouriers,
  perform: assignCouriers,
  undo: unassignCouriers,
};

const selectCouriers = statement<{ city: string; courierIds: string[] }>(`
  select city, array_agg(courier_id order by courier_id) as "courierIds"
  from couriers where city = any($1::text[]) group by city`);

/** Locks nothing: couriers are not used up, and an assignment belongs to whoever holds its journal entry. */
async function readCouriers(tx: Tx, assigns: readonly Assign[]): Promise<Locked> {
  if (assigns.length === 0) return { couriersOf: new Map() };
  const rows = await selectCouriers(tx, [...new Set(assigns.map(({ city }) => city))]);
  return { couriersOf: new Map(rows.map(({ city, courierIds }) => [city, courierIds])) };
}

const insertAssignments = statement(`
  insert into assignments (order_id, courier_id, status)
  select order_id, courier_id, 'assigned' from unnest($1::uuid[], $2::text[]) as assigned (order_id, courier_id)`);

async function assignCouriers(tx: Tx, assigns: readonly Assign[], { couriersOf }: Locked) {
  const outcomes = decideAssignments(couriersOf, assigns);
  const assigned = assigns.flatMap(({ orderId }, index) => {
    const outcome = outcomes[index];
    return outcome?.outcome === 'done' ? [{ orderId, courierId: outcome.result.courierId }] : [];
  });
  if (assigned.length > 0) tx.write(insertAssignments(tx, ...columns(assigned, ['orderId', 'courierId'])));
  return outcomes;
}

const markUnassigned = statement(
  `update assignments set status = 'unassigned' where order_id = any($1::uuid[])`,
);

async function unassignCouriers(tx: Tx, undos: readonly Undo[]) {
  tx.write(
    markUnassigned(
      tx,
      undos.map(({ orderId }) => orderId),
    ),
  );
  return undos.map(() => done({}));
}
