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
  shares: { table: 'wallets', column: 'customer_id', of: ({ customerId }) => [customerId] },
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
  with debited as (
    update wallets w set balance = w.balance - debit.amount
    from unnest($1::text[], $2::bigint[]) as debit (customer_id, amount)
    where w.customer_id = debit.customer_id)
  insert into payments (order_id, customer_id, amount, status)
  select order_id, customer_id, amount, 'charged'
  from unnest($3::uuid[], $4::text[], $5::bigint[]) as charged (order_id, customer_id, amount)`);

async function chargePayments(tx: Tx, charges: readonly Charge[], { balances }: Locked) {
  const outcomes = decideCharges(balances, charges);
  const charged = charges.filter((_, index) => outcomes[index]?.outcome === 'done');
  if (charged.length > 0) {
    const debits = amountsByCustomer(charged);
    const rows = columns(charged, ['orderId', 'customerId', 'amount']);
    tx.write(insertPayments(tx, [...debits.keys()], [...debits.values()], ...rows));
  }
  return outcomes;
}

const markRefunded = statement(`
  with credited as (
    update wallets w set balance = w.balance + credit.amount
    from unnest($1::text[], $2::bigint[]) as credit (customer_id, amount)
    where w.customer_id = credit.customer_id)
  update payments set status = 'refunded' where order_id = any($3::uuid[])`);

async function refundPayments(tx: Tx, undos: readonly Undo[], { payments }: Locked) {
  const refunds = undos.flatMap(({ orderId }) => payments.get(orderId) ?? []);
  const credits = amountsByCustomer(refunds);
  const orderIds = refunds.map(({ orderId }) => orderId);
  tx.write(markRefunded(tx, [...credits.keys()], [...credits.values()], orderIds));
  return undos.map(() => done({}));
}

const amountsByCustomer = (payments: readonly { customerId: string; amount: number }[]) =>
  sumBy(
    payments,
    ({ customerId }) => customerId,
    ({ amount }) => amount,
  );
