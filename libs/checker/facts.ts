/**
 * What the checker looks at: every database in one snapshot each, and the stream. The order database is read
 * first, so that what it calls ended has ended everywhere by the time the others are read; what is still
 * under way is judged by the rules about time, not by those about effects. For two-phase commit, which has no
 * such order among the databases, see two-phase-facts.ts.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Items, OrderStatus, Protocol } from '#libs/contracts/orders.ts';
import { storedMessages } from '#libs/nats/stored-messages.ts';
import {
  type Read,
  readBranches,
  readDue,
  readLog,
  readPrepared,
  type TwoPhaseFacts,
} from './two-phase-facts.ts';

pg.types.setTypeParser(pg.types.builtins.INT8, Number);

export type OrderFact = {
  orderId: string;
  status: OrderStatus;
  protocol: Protocol;
  customerId: string;
  city: string;
  total: number;
  items: Items;
  traceId: string;
  /** Of the body that came with an Idempotency-Key; null without one. */
  bodyHash: string | null;
  carriesFaults: boolean;
  /** How the journal says that it was placed, which bars it from being placed again; looked up under a key only. */
  placed: string | null;
  createdAt: Date;
  ended: boolean;
  lateMs: number;
  /** Since it was placed. */
  ageMs: number;
};
export type PaymentFact = { orderId: string; customerId: string; amount: number; status: string };
export type ReservationFact = { orderId: string; items: Items; status: string };
export type AssignmentFact = { orderId: string; status: string };
export type Oddity = { service: ServiceName; orderId: string; detail: string };
export type OutboxFact = {
  service: ServiceName;
  messageId: string;
  published: boolean;
  ageMs: number;
  /** The first of those it speaks of, where publishing it is late. */
  orderId: string | null;
};

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
  outboxAfter: Pick<OutboxFact, 'messageId'>[];
  twoPhase: TwoPhaseFacts;
};

/** Without the coordinator's the rules of two-phase commit say that they cannot look. */
export type AuditUrls = Record<ServiceName, string> & { coordinator?: string | undefined };

export const publishGraceMs = 15_000;

const orderFacts = `select order_id as "orderId", status, protocol, customer_id as "customerId", city, total, items,
  substr(traceparent, 4, 32) as "traceId", body_hash as "bodyHash", faults is not null as "carriesFaults",
  case when body_hash is not null then (
    select outcome from journal j where j.order_id = o.order_id and j.step = 'order.place' and j.direction = 'do')
  end as placed, created_at as "createdAt", ended_at is not null as ended,
  (extract(epoch from now() - deadline) * 1000)::bigint as "lateMs",
  (extract(epoch from now() - created_at) * 1000)::bigint as "ageMs" from orders o`;
/** All events of a message are of one transaction: who looks for that needs only the first. */
const outboxFacts = `select message_id as "messageId", published_at is not null as published, "ageMs",
    case when published_at is null and "ageMs" > ${publishGraceMs} then body::json -> 0 ->> 'subject' end as "orderId"
  from outbox, lateral (select (extract(epoch from now() - created_at) * 1000)::bigint as "ageMs") aged`;
const outboxIds = 'select message_id as "messageId" from outbox';

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
  const coordinator = urls.coordinator === undefined ? undefined : await openSnapshot(urls.coordinator);
  if (coordinator) clients.push(coordinator);
  const read: ReadOf = (service, text) => readerOf(byName.get(service) as pg.Client)(text);

  try {
    const logReader = coordinator && readerOf(coordinator);
    const due = await readDue(logReader);
    await byName.get('order')?.query(snapshot);
    const orders = await readOrders(read);
    await Promise.all(
      serviceNames.filter((name) => name !== 'order').map((name) => byName.get(name)?.query(snapshot)),
    );
    const outboxBefore = await readOutboxes(read);
    // By this query every database has its snapshot: what these show as decided is in the log from now on.
    await coordinator?.query(snapshot);
    const log = await readLog(logReader, due);
    const twoPhase = {
      log,
      branches: await readBranches((name) => readerOf(byName.get(name) as pg.Client), log),
      prepared: (
        await Promise.all(
          serviceNames.map((name) => readPrepared(name, readerOf(byName.get(name) as pg.Client))),
        )
      ).flat(),
    };
    const facts = { twoPhase, orders, outboxBefore, ...(await readEffects(read)) };
    // The stream is read between two looks at the outboxes: each direction of I6 has its right order.
    const stream = await readStream(connection);
    await Promise.all(clients.map((client) => client.query('commit')));
    return { ...facts, stream, outboxAfter: await readOutboxIds(read) };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** What each rule needs of the services' databases. Apart from where the rows come from, so that a simulation can ask for them too. */
export type ReadOf = <Row extends pg.QueryResultRow>(service: ServiceName, text: string) => Promise<Row[]>;

export const readOrders = async (read: ReadOf) => byOrder(await read<OrderFact>('order', orderFacts));
export const readOutboxes = (read: ReadOf) => readAll<OutboxFact>(read, outboxFacts);
export const readOutboxIds = (read: ReadOf) => readAll<Pick<OutboxFact, 'messageId'>>(read, outboxIds);

type Effects = Omit<Facts, 'orders' | 'outboxBefore' | 'stream' | 'outboxAfter' | 'twoPhase'>;

/** One query after another on each database: a client takes one at a time. */
export async function readEffects(read: ReadOf): Promise<Effects> {
  const rows = await readAll<{ count: number }>(read, 'select count(*) from journal');
  const tied = await Promise.all([
    read<Oddity>('payment', unjournaled('payments', 'payment.charge', 'charged')),
    read<Oddity>('inventory', unjournaled('reservations', 'inventory.reserve', 'reserved')),
    read<Oddity>('logistics', unjournaled('assignments', 'logistics.assign', 'assigned')),
  ]);
  return {
    wallets: await read('payment', 'select customer_id as "customerId", balance from wallets'),
    payments: byOrder(
      await read<PaymentFact>(
        'payment',
        'select order_id as "orderId", customer_id as "customerId", amount, status from payments',
      ),
    ),
    stock: await read('inventory', 'select dish_id as "dishId", free, reserved from stock'),
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
    endsTwice: (await read<Oddity>('order', endsTwice)).map((row) => ({ ...row, service: 'order' })),
    effectsTwice: await readAll<Oddity>(read, effectsTwice),
    effectsUnjournaled: tied.flat(),
    undoneUnbarred: await readAll<Oddity>(read, undoneUnbarred),
  };
}

/** Of every service, with its name. */
async function readAll<Row>(read: ReadOf, text: string): Promise<Row[]> {
  const parts = await Promise.all(
    serviceNames.map(async (service) =>
      (await read(service, text)).map((row) => ({ service, ...row }) as Row),
    ),
  );
  return parts.flat();
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

const readerOf =
  (client: pg.Client): Read =>
  async (text, values) =>
    (await client.query(text, values)).rows;

const byOrder = <Row extends { orderId: string }>(rows: readonly Row[]) =>
  new Map(rows.map((row) => [row.orderId, row]));

/** Ids of all messages in the stream. */
async function readStream(connection: NatsConnection): Promise<Set<string>> {
  const stored = storedMessages(connection);
  const ids = await stored.ids(await stored.bounds());
  // What the broker had forgotten has a second part in its id (libs/step/relay.ts).
  return new Set([...ids].map(([sequence, id]) => id.split('/')[0] || `(no id, sequence ${sequence})`));
}
