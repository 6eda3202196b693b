/**
 * What the checker looks at: every database in one snapshot each, and the stream. The order database is read
 * first, so that what it calls ended has ended everywhere by the time the others are read; what is still
 * under way is judged by the rules about time, not by those about effects.
 */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Items, OrderStatus } from '#libs/contracts/orders.ts';
import { eventStream } from '#libs/nats/streams.ts';

pg.types.setTypeParser(pg.types.builtins.INT8, Number);

export type OrderFact = {
  orderId: string;
  status: OrderStatus;
  total: number;
  items: Items;
  ended: boolean;
  lateMs: number;
};
export type PaymentFact = { orderId: string; customerId: string; amount: number; status: string };
export type ReservationFact = { orderId: string; items: Items; status: string };
export type AssignmentFact = { orderId: string; status: string };
export type Oddity = { service: ServiceName; orderId: string; detail: string };
export type OutboxFact = { service: ServiceName; messageId: string; published: boolean; ageMs: number };

export type Facts = {
  orders: Map<string, OrderFact>;
  wallets: { customerId: string; balance: number }[];
  payments: Map<string, PaymentFact>;
  stock: { dishId: string; free: number; reserved: number }[];
  reservations: Map<string, ReservationFact>;
  assignments: Map<string, AssignmentFact>;
  journalRows: number;
  endsTwice: Oddity[];
  effectsTwice: Oddity[];
  effectsUnjournaled: Oddity[];
  undoneUnbarred: Oddity[];
  outboxBefore: OutboxFact[];
  stream: Set<string>;
  outboxAfter: OutboxFact[];
};

export type AuditUrls = Record<ServiceName, string>;

const orderFacts = `select order_id as "orderId", status, total, items, ended_at is not null as ended,
  (extract(epoch from now() - deadline) * 1000)::bigint as "lateMs" from orders`;
const outboxFacts = `select message_id as "messageId", published_at is not null as published,
  (extract(epoch from now() - created_at) * 1000)::bigint as "ageMs" from outbox`;

/** An event has one effect at a service: two entries that it caused are two effects. */
const effectsTwice = `select min(order_id::text) as "orderId", 'event ' || causation_id || ' took effect ' || count(*) || ' times' as detail
  from journal where outcome <> 'barred' group by causation_id having count(*) > 1`;
/** An undo stands on a forward entry, which is what bars a late step, and comes after it in logical time. */
const undoneUnbarred = `select u.order_id as "orderId", u.step || case when d.order_id is null
    then ' was undone without its barrier' else ' ran after its undo' end as detail
  from journal u left join journal d on d.order_id = u.order_id and d.step = u.step and d.direction = 'do'
  where u.direction = 'undo' and (d.order_id is null or (d.outcome = 'done' and d.lamport >= u.lamport))`;
const endsTwice = `select order_id as "orderId", 'ended ' || count(*) || ' times' as detail from journal
  where outcome in ('done', 'empty') and event_type in ('order.dispatched', 'order.cancelled')
  group by order_id having count(*) > 1`;

/** Business rows and journal say the same: a row stands where the step was done and not undone. */
const unjournaled = (table: string, step: string, standing: string) => `
  select coalesce(b.order_id, j.order_id) as "orderId",
         '${table} says ' || coalesce(b.status, 'nothing') || ', journal says ' || coalesce(j.says, 'nothing') as detail
  from ${table} b full join (
    select order_id, case when bool_or(direction = 'undo' and outcome = 'done') then 'undone' else 'done' end as says
    from journal where step = '${step}' group by order_id
    having bool_or(direction = 'do' and outcome = 'done')) j on j.order_id = b.order_id
  where (b.status = '${standing}') is distinct from (j.says = 'done') or (b.order_id is null) <> (j.order_id is null)`;

export async function gatherFacts(urls: AuditUrls, connection: NatsConnection): Promise<Facts> {
  const clients = await Promise.all(serviceNames.map((name) => openSnapshot(urls[name])));
  const byName = new Map(serviceNames.map((name, index) => [name, clients[index] as pg.Client]));
  const read = async <Row extends pg.QueryResultRow>(service: ServiceName, text: string) =>
    ((await byName.get(service)?.query<Row>(text))?.rows ?? []) as Row[];
  const readAll = async <Row>(text: string) => {
    const parts = await Promise.all(
      serviceNames.map(async (service) =>
        (await read(service, text)).map((row) => ({ service, ...row }) as Row),
      ),
    );
    return parts.flat();
  };

  try {
    await byName.get('order')?.query(snapshot);
    const orders = await read<OrderFact>('order', orderFacts);
    await Promise.all(
      serviceNames.filter((name) => name !== 'order').map((name) => byName.get(name)?.query(snapshot)),
    );
    const outboxBefore = await readAll<OutboxFact>(outboxFacts);
    const rows = await readAll<{ count: number }>('select count(*) from journal');
    const tied = await Promise.all([
      read<Oddity>('payment', unjournaled('payments', 'payment.charge', 'charged')),
      read<Oddity>('inventory', unjournaled('reservations', 'inventory.reserve', 'reserved')),
      read<Oddity>('logistics', unjournaled('assignments', 'logistics.assign', 'assigned')),
    ]);
    const facts = {
      orders: byOrder(orders),
      wallets: await read<Facts['wallets'][number]>(
        'payment',
        'select customer_id as "customerId", balance from wallets',
      ),
      payments: byOrder(
        await read<PaymentFact>(
          'payment',
          'select order_id as "orderId", customer_id as "customerId", amount, status from payments',
        ),
      ),
      stock: await read<Facts['stock'][number]>(
        'inventory',
        'select dish_id as "dishId", free, reserved from stock',
      ),
      reservations: byOrder(
        await read<ReservationFact>(
          'inventory',
          'select order_id as "orderId", items, status from reservations',
        ),
      ),
      assignments: byOrder(
        await read<AssignmentFact>('logistics', 'select order_id as "orderId", status from assignments'),
      ),
      journalRows: rows.reduce((sum, row) => sum + row.count, 0),
      endsTwice: (await read<Oddity>('order', endsTwice)).map((row) => ({
        ...row,
        service: 'order' as const,
      })),
      effectsTwice: await readAll<Oddity>(effectsTwice),
      effectsUnjournaled: tied.flat(),
      undoneUnbarred: await readAll<Oddity>(undoneUnbarred),
      outboxBefore,
    };
    // The stream is read between two looks at the outboxes: each direction of I6 has its right order.
    const stream = await readStream(connection);
    await Promise.all(clients.map((client) => client.query('commit')));
    return { ...facts, stream, outboxAfter: await readAll<OutboxFact>(outboxFacts) };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

const snapshot = 'begin isolation level repeatable read read only';
const statementTimeoutMs = 60_000;

async function openSnapshot(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: 'checker',
    statement_timeout: statementTimeoutMs,
  });
  // Whoever waits for a query hears of a lost connection; without a listener it would end the process.
  client.on('error', () => {});
  await client.connect();
  return client;
}

const byOrder = <Row extends { orderId: string }>(rows: readonly Row[]) =>
  new Map(rows.map((row) => [row.orderId, row]));

/** Ids of all messages in the stream. Headers only: the bodies stay where they are. */
async function readStream(connection: NatsConnection): Promise<Set<string>> {
  const ids = new Set<string>();
  const manager = await jetstreamManager(connection);
  const { state } = await manager.streams.info(eventStream);
  if (state.messages === 0) return ids;
  const consumer = await jetstream(connection).consumers.get(eventStream, { headers_only: true });
  for await (const message of await consumer.consume({ max_messages: 1_000, idle_heartbeat: 1_000 })) {
    ids.add(message.headers?.get('Nats-Msg-Id') ?? `(no id, sequence ${message.seq})`);
    // The last message may have been deleted: then nothing reaches `last_seq`, and only `pending` says the end.
    if (message.seq >= state.last_seq || message.info.pending === 0) break;
  }
  return ids;
}
