import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { done, type Step, type Undo } from '#libs/step/step.ts';
import { sumBy } from '#libs/step/sum.ts';
import { type Charge, decideCharges } from './decide.ts';

type Payment = { orderId: string; customerId: string; amount: number };
type Locked = { balances: Map<string, number>; payments: Map<string, Payment> };

export const charge: Step<Charge, Locked, { charged: number }> = {
  name: 'payment.charge',
  undoName: 'payment.refund',
  lock: lockWallets,
  perform: chargePayments,
  undo: refundPayments,
};

const selectPayments = statement<Payment>(`
  select order_id as "orderId", customer_id as "customerId", amount
  from payments where order_id = any($1::uuid[])`);

const selectWallets = statement<{ customerId: string; balance: number }>(`
  select customer_id as "customerId", balance
  from wallets where customer_id = any($1::text[]) order by customer_id for update`);

async function lockWallets(tx: Tx, charges: readonly Charge[], undos: readonly Undo[]): Promise<Locked> {
  // A payment is only ever changed by the one who holds its journal entry, so it needs no lock of its own.
  const found =
    undos.length === 0
      ? []
      : await selectPayments(
          tx,
          undos.map(({ orderId }) => orderId),
        );
  const customers = new Set([...charges, ...found].map(({ customerId }) => customerId));
  const wallets = await selectWallets(tx, [...customers]);
  return {
    balances: new Map(wallets.map(({ customerId, balance }) => [customerId, balance])),
    payments: new Map(found.map((payment) => [payment.orderId, payment])),
  };
}

const insertPayments = statement(`
  insert into payments (order_id, customer_id, amount, status)
  select order_id, customer_id, amount, 'charged'
  from unnest($1::uuid[], $2::text[], $3::bigint[]) as charged (order_id, customer_id, amount)`);

const addToWallets = statement(`
  update wallets w set balance = w.balance + change.amount
  from unnest($1::text[], $2::bigint[]) as change (customer_id, amount)
  where w.customer_id = change.customer_id`);

async function chargePayments(tx: Tx, charges: readonly Charge[], { balances }: Locked) {
  const outcomes = decideCharges(balances, charges);
  const charged = charges.filter((_, index) => outcomes[index]?.outcome === 'done');
  if (charged.length > 0) {
    const taken = sumBy(
      charged,
      ({ customerId }) => customerId,
      ({ amount }) => -amount,
    );
    tx.write(insertPayments(tx, ...columns(charged, ['orderId', 'customerId', 'amount'])));
    tx.write(addToWallets(tx, [...taken.keys()], [...taken.values()]));
  }
  return outcomes;
}

const markRefunded = statement(`update payments set status = 'refunded' where order_id = any($1::uuid[])`);

async function refundPayments(tx: Tx, undos: readonly Undo[], { payments }: Locked) {
  const refunds = undos.flatMap(({ orderId }) => payments.get(orderId) ?? []);
  const given = sumBy(
    refunds,
    ({ customerId }) => customerId,
    ({ amount }) => amount,
  );
  tx.write(
    markRefunded(
      tx,
      refunds.map(({ orderId }) => orderId),
    ),
  );
  tx.write(addToWallets(tx, [...given.keys()], [...given.values()]));
  return undos.map(() => done({}));
}
