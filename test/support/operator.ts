/** What goes wrong for an operator who forces a branch, and what one does who was wrong. */
import pg from 'pg';
import type { Order } from '#libs/contracts/orders.ts';
import { system } from './api.ts';
import { eventually } from './eventually.ts';
import { audit } from './two-phase.ts';
import { write } from './write.ts';

/** Once what stands prepared has ended, nobody writes into the table of branches: the lock waits for that as well. */
export async function whileRecordsWait(
  service: string,
  work: (isWaiting: () => Promise<boolean>) => Promise<void>,
): Promise<void> {
  const client = new pg.Client({ connectionString: system.databases[service]?.url });
  await client.connect();
  try {
    await client.query('begin; set local lock_timeout = 0; set local statement_timeout = 0');
    const locked = client.query('lock table branches in share mode');
    const waits = `select from pg_locks where relation = 'branches'::regclass and not granted and mode = $1`;
    const isWaiting = async (mode: string) => (await audit(service, waits, [mode])).length > 0;
    await eventually('the lock waits', () => isWaiting('ShareLock'));
    await work(() => isWaiting('RowExclusiveLock'));
    await locked;
  } finally {
    await client.end();
  }
}

/** What an operator does who was wrong: brings the one database to where all others are, by hand. */
export async function chargeAfterAll(
  { orderId, transactionId }: { orderId: string; transactionId: string },
  { customerId, total }: Order,
): Promise<void> {
  await write('payment', `insert into payments values ($1, $2, $3, 'charged')`, [orderId, customerId, total]);
  await write('payment', 'update wallets set balance = balance - $2 where customer_id = $1', [
    customerId,
    total,
  ]);
  await write(
    'payment',
    `insert into journal (order_id, step, direction, outcome, lamport, causation_id, attempt, recorded_at)
     values ($1, 'payment.charge', 'do', 'done', 1, gen_random_uuid(), 1, now())`,
    [orderId],
  );
  await write(
    'payment',
    `update branches set state = 'prepared', order_ids = array[$2::uuid] where transaction_id = $1`,
    [transactionId, orderId],
  );
}
