/** Violations to plant in the real databases and the stream, one for each thing that a rule can find. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { CheckOptions } from '#libs/checker/rules.ts';
import type { Bus } from './bus.ts';
import { plantsOfKeys } from './key-plants.ts';
import { plantsOfTrails } from './trail-plants.ts';
import { plantsOfTwoPhase } from './two-phase-plants.ts';
import { write } from './write.ts';

export const entry = `insert into journal
  (order_id, step, direction, outcome, event_type, lamport, causation_id, attempt, recorded_at)`;

export type Plant = {
  rule: string;
  name: string;
  /** The order that must be named, or null where the violation is about no single order. */
  about: () => string | null;
  plant: () => Promise<unknown>;
  uproot: () => Promise<unknown>;
  options?: () => Partial<CheckOptions>;
  /** What cannot be true either, once this is not. */
  also?: readonly string[];
};

/** What was deleted, to be put back. */
let kept: pg.QueryResultRow | undefined;
const strayId = randomUUID();

export type Planted = {
  /** An order of the saga that stands, and one that was undone. */
  good: () => string;
  bad: () => string;
  /** One of two-phase commit that stands. */
  agreed: () => string;
  /** The same under an Idempotency-Key. */
  keyed: () => string;
  keyedAgreed: () => string;
};

export const plantsFor = ({ good, bad, agreed, keyed, keyedAgreed }: Planted, bus: () => Bus): Plant[] => [
  {
    rule: 'I1',
    name: 'money that vanished from a wallet',
    about: () => null,
    plant: () =>
      write('payment', `update wallets set balance = balance - 1 where customer_id = 'customer-0701'`),
    uproot: () =>
      write('payment', `update wallets set balance = balance + 1 where customer_id = 'customer-0701'`),
  },
  {
    rule: 'I1',
    name: 'a payment of another amount than the order costs',
    about: good,
    plant: () => write('payment', 'update payments set amount = amount + 1 where order_id = $1', [good()]),
    uproot: () => write('payment', 'update payments set amount = amount - 1 where order_id = $1', [good()]),
  },
  {
    rule: 'I2',
    name: 'a portion that vanished from the stock',
    about: () => null,
    plant: () => write('inventory', `update stock set free = free - 1 where dish_id = 'dish-201'`),
    uproot: () => write('inventory', `update stock set free = free + 1 where dish_id = 'dish-201'`),
  },
  {
    rule: 'I2',
    name: 'a reservation of another quantity than was ordered',
    about: good,
    plant: () => setReserved(good(), 3),
    uproot: () => setReserved(good(), 2),
  },
  {
    rule: 'I3',
    name: 'a dispatched order whose courier was taken away',
    about: good,
    async plant() {
      await write('logistics', `update assignments set status = 'unassigned' where order_id = $1`, [good()]);
      const values = `select order_id, step, 'undo', 'done', null, 99, event_id, 1, now()`;
      await write('logistics', `${entry} ${values} from journal where order_id = $1`, [good()]);
    },
    async uproot() {
      await write('logistics', `update assignments set status = 'assigned' where order_id = $1`, [good()]);
      await write('logistics', `delete from journal where order_id = $1 and direction = 'undo'`, [good()]);
    },
  },
  {
    rule: 'I4',
    name: 'a dispatched order that is cancelled as well',
    about: good,
    plant() {
      const values = `select order_id, 'order.place', 'undo', 'done', 'order.cancelled', 99, event_id, 1, now()`;
      const cause = `from journal where order_id = $1 and step = 'order.dispatch'`;
      return write('order', `${entry} ${values} ${cause}`, [good()]);
    },
    uproot: () => write('order', `delete from journal where order_id = $1 and direction = 'undo'`, [good()]),
  },
  {
    rule: 'I5',
    name: 'an event that took effect twice',
    about: good,
    plant: () =>
      write(
        'notification',
        `${entry} select order_id, 'notification.twice', direction, outcome, null, lamport, causation_id, 1, now()
         from journal where order_id = $1 and step = 'notification.notify-dispatched'`,
        [good()],
      ),
    uproot: () => write('notification', `delete from journal where step = 'notification.twice'`),
  },
  {
    rule: 'I5',
    name: 'a payment that no journal entry stands for',
    about: () => strayId,
    plant: () =>
      write('payment', `insert into payments values ($1, 'customer-0702', 0, 'charged')`, [strayId]),
    uproot: () => write('payment', 'delete from payments where order_id = $1', [strayId]),
  },
  {
    rule: 'I6',
    name: 'a message that was published and never committed',
    about: () => null,
    plant: () => bus().publish('order.cancelled', '[]', randomUUID()),
    // Deletes the last message of the stream: the checker must not wait for it for ever.
    uproot: () => bus().clean(),
  },
  {
    rule: 'I6',
    name: 'an outbox row that is gone',
    about: () => JSON.parse(kept?.body ?? '[{}]')[0].subject,
    async plant() {
      [kept] = await write(
        'payment',
        `delete from outbox where message_id = (select message_id from outbox limit 1) returning *`,
      );
    },
    uproot: () =>
      write('payment', 'insert into outbox select * from json_populate_record(null::outbox, $1)', [
        JSON.stringify(kept),
      ]),
  },
  {
    rule: 'I6',
    name: 'a message that is called published and is not in the stream',
    about: () => null,
    plant: () =>
      write('payment', `insert into outbox values ($1, 'payment.failed', 0, '[]', now(), now())`, [strayId]),
    uproot: () => write('payment', 'delete from outbox where message_id = $1', [strayId]),
  },
  {
    rule: 'I7',
    name: 'a step that ran after its undo',
    also: ['I13', 'I14'],
    about: bad,
    plant: () => shiftCharge(bad(), 50),
    uproot: () => shiftCharge(bad(), -50),
  },
  {
    rule: 'I7',
    name: 'an undo without its barrier',
    also: ['I14'],
    about: bad,
    async plant() {
      [kept] = await write(
        'order',
        `delete from journal where order_id = $1 and step = 'order.place' and direction = 'do' returning *`,
        [bad()],
      );
    },
    uproot: () =>
      write('order', 'insert into journal select * from json_populate_record(null::journal, $1)', [
        JSON.stringify(kept),
      ]),
  },
  ...plantsOfTwoPhase(good, agreed, strayId),
  ...plantsOfKeys(keyed, keyedAgreed),
  {
    rule: 'I11',
    name: 'an accepted order that is gone',
    about: () => strayId,
    plant: async () => {},
    uproot: async () => {},
    options: () => ({ accepted: [good(), strayId] }),
  },
  {
    rule: 'I12',
    name: 'an order that does not come to its end',
    about: good,
    async plant() {
      const [row] = await write(
        'order',
        `update orders o set status = 'CONFIRMED', ended_at = null, deadline = now() + interval '1 day'
         from orders before where o.order_id = $1 and before.order_id = $1
         returning before.ended_at::text, before.deadline::text`,
        [good()],
      );
      kept = row;
    },
    uproot: () =>
      write(
        'order',
        `update orders set status = 'DISPATCHED', ended_at = $2, deadline = $3 where order_id = $1`,
        [...[good(), kept?.ended_at, kept?.deadline]],
      ),
  },
  ...plantsOfTrails(good, bad, bus),
];

const setReserved = (orderId: string, quantity: number) =>
  write('inventory', 'update reservations set items = $2 where order_id = $1', [
    orderId,
    JSON.stringify([{ dishId: 'dish-200', quantity }]),
  ]);
const shiftCharge = (orderId: string, by: number) =>
  write('payment', `update journal set lamport = lamport + $2 where order_id = $1 and direction = 'do'`, [
    orderId,
    by,
  ]);
