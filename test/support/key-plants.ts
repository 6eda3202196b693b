/** Violations of what an Idempotency-Key promises, to plant: `keyed` is such an order of the saga, `agreed` one of 2PC. */
import { randomUUIDv7 } from 'node:crypto';
import type { Plant } from './plants.ts';
import { write } from './write.ts';

/** To be put back. */
let kept = '';

export const plantsOfKeys = (keyed: () => string, agreed: () => string): Plant[] => [
  {
    rule: 'I10',
    name: 'the fingerprint of another body',
    about: keyed,
    plant: () => changeHash(keyed(), 'of another body'),
    uproot: () => changeHash(keyed(), kept),
  },
  {
    rule: 'I10',
    name: 'an order under a key that kept no fingerprint',
    about: keyed,
    plant: () => changeHash(keyed(), null),
    uproot: () => changeHash(keyed(), kept),
  },
  {
    rule: 'I10',
    name: 'an order that its key does not lead to',
    about: () => strayId,
    plant: () => copyOf(keyed(), strayId),
    async uproot() {
      await write('order', 'delete from orders where order_id = $1', [strayId]);
      await write('order', 'delete from journal where order_id = $1', [strayId]);
    },
  },
  {
    rule: 'I10',
    name: 'an order that was changed under its key',
    about: keyed,
    plant: () => write('order', `update orders set city = 'pune' where order_id = $1`, [keyed()]),
    uproot: () => write('order', `update orders set city = 'bengaluru' where order_id = $1`, [keyed()]),
  },
  {
    rule: 'I10',
    name: 'an order that a repeat of its key would not find',
    about: keyed,
    plant: () => setPlaced(keyed(), 'refused'),
    uproot: () => setPlaced(keyed(), 'done'),
  },
  {
    rule: 'I10',
    name: 'a key that saga and coordinator both answer for',
    about: keyed,
    plant: () =>
      write(
        'coordinator',
        `insert into answers (order_id, transaction_id, outcome, body_hash, answer) values ($1, $1, 'refused', 'x', '{}')`,
        [keyed()],
      ),
    uproot: () => write('coordinator', 'delete from answers where order_id = $1', [keyed()]),
  },
  {
    rule: 'I10',
    name: 'a coordinator that keeps another fingerprint',
    about: agreed,
    async plant() {
      const [row] = await write('coordinator', 'select body_hash from answers where order_id = $1', [
        agreed(),
      ]);
      kept = row?.body_hash;
      await setAnswer(agreed(), 'body_hash', 'of another body');
    },
    uproot: () => setAnswer(agreed(), 'body_hash', kept),
  },
  {
    rule: 'I10',
    name: 'an answer that is not what was ordered',
    about: agreed,
    plant: () => changeAnswer(agreed(), 1),
    uproot: () => changeAnswer(agreed(), -1),
  },
];

const strayId = randomUUIDv7();

async function changeHash(orderId: string, hash: string | null): Promise<void> {
  const [row] = await write('order', 'select body_hash from orders where order_id = $1', [orderId]);
  kept = row?.body_hash;
  await write('order', 'update orders set body_hash = $2 where order_id = $1', [orderId, hash]);
}

/** Cancelled, so that it owes nothing. */
const copyOf = (orderId: string, to: string) =>
  write(
    'order',
    `insert into orders (order_id, status, protocol, customer_id, city, items, total, traceparent, body_hash,
                         created_at, deadline, ended_at)
     select $2, 'CANCELLED', '2pc', customer_id, city, items, total, traceparent, body_hash,
            created_at, deadline, ended_at from orders where order_id = $1`,
    [orderId, to],
  );
const setPlaced = (orderId: string, outcome: string) =>
  write('order', `update journal set outcome = $2 where order_id = $1 and step = 'order.place'`, [
    orderId,
    outcome,
  ]);
const setAnswer = (orderId: string, column: 'body_hash', value: string) =>
  write('coordinator', `update answers set ${column} = $2 where order_id = $1`, [orderId, value]);
const changeAnswer = (orderId: string, by: number) =>
  write(
    'coordinator',
    `update answers set answer = jsonb_set(answer::jsonb, '{total}', to_jsonb((answer ->> 'total')::int + $2))::json
     where order_id = $1`,
    [orderId, by],
  );
