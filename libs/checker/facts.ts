/**
 * What the checker looks at: every database in one snapshot each, and the stream. The order database is read
 * first, so that what it calls ended has ended everywhere by the time the others are read; what is still
 * under way is judged by the rules about time, not by those about effects. For two-phase commit, which has no
 * such order among the databases, see two-phase-facts.ts.
 */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Items, OrderStatus, Protocol } from '#libs/contracts/orders.ts';
import { copyHeader } from '#libs/nats/publish.ts';
import { eventStream } from '#libs/nats/streams.ts';
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
  total: number;
  items: Items;
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

const orderFacts = `select order_id as "orderId", status, protocol, total, items, ended_at is not null as ended,
  (extract(epoch from now() - deadline) * 1000)::bigint as "lateMs",
  (extract(epoch from now() - created_at) * 1000)::bigint as "ageMs" from orders`;
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
  const read = <Row extends pg.QueryResultRow>(service: ServiceName, text: string) =>
    readerOf(byName.get(service) as pg.Client)<Row>(text);
  const readAll = async <Row>(text: string) => {
    const parts = await Promise.all(
      serviceNames.map(async (service) =>
        (await read(service, text)).map((row) => ({ service, ...row }) as Row),
      ),
    );
    return parts.flat();
  };

  try {
    const logReader = coordinator && readerOf(coordinator);
    const due = await readDue(logReader);
    await byName.get('order')?.query(snapshot);
    const orders = await read<OrderFact>('order', orderFacts);
    await Promise.all(
      serviceNames.filter((name) => name !== 'order').map((name) => byName.get(name)?.query(snapshot)),
    );
    const outboxBefore = await readAll<OutboxFact>(outboxFacts);
    // By this query every database has its snapshot: what these show as decided is in the log from now on.
    await coordinator?.query(snapshot);
    const log = await readLog(logReader, due);
    const rows = await readAll<{ count: number }>('select count(*) from journal');
    const tied = await Promise.all([
      read<Oddity>('payment', unjournaled('payments', 'payment.charge', 'charged')),
      read<Oddity>('inventory', unjournaled('reservations', 'inventory.reserve', 'reserved')),
      read<Oddity>('logistics', unjournaled('assignments', 'logistics.assign', 'assigned')),
    ]);
    const twoPhase = {
      log,
      branches: await readBranches((name) => readerOf(byName.get(name) as pg.Client), log),
      prepared: (
        await Promise.all(
          serviceNames.map((name) => readPrepared(name, readerOf(byName.get(name) as pg.Client))),
        )
      ).flat(),
    };
    const facts = {
      twoPhase,
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
    return { ...facts, stream, outboxAfter: await readAll<Pick<OutboxFact, 'messageId'>>(outboxIds) };
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

const readerOf =
  (client: pg.Client): Read =>
  async (text, values) =>
    (await client.query(text, values)).rows;

const byOrder = <Row extends { orderId: string }>(rows: readonly Row[]) =>
  new Map(rows.map((row) => [row.orderId, row]));

/** Ids of all messages in the stream. Headers only: the bodies stay where they are. */
async function readStream(connection: NatsConnection): Promise<Set<string>> {
  const ids = new Set<string>();
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const { state } = await manager.streams.info(eventStream);
  if (state.messages === 0) return ids;
  const consumer = await jetstream(connection).consumers.get(eventStream, { headers_only: true });
  for await (const message of await consumer.consume({ max_messages: 1_000, idle_heartbeat: 1_000 })) {
    const header = (name: string) => message.headers?.get(name) || undefined;
    // What was committed is the original; a copy of it says whose it is.
    ids.add(header(copyHeader) ?? header('Nats-Msg-Id') ?? `(no id, sequence ${message.seq})`);
    // The last message may have been deleted: then nothing reaches `last_seq`, and only `pending` says the end.
    if (message.seq >= state.last_seq || message.info.pending === 0) break;
  }
  return ids;
}
