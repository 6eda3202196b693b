/** What the checker looks at in the services' databases; gather.ts says in which order. */
import pg from 'pg';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { Items, OrderStatus, Protocol } from '#libs/contracts/orders.ts';
import type { Trail } from './trail-facts.ts';
import type { TwoPhaseFacts } from './two-phase-facts.ts';

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
  /** Ids of all messages in the stream. */
  stream: Set<string>;
  /** Of messages that are not where they should be: the first order that each speaks of. */
  speaksOf: ReadonlyMap<string, string>;
  outboxAfter: Pick<OutboxFact, 'messageId'>[];
  twoPhase: TwoPhaseFacts;
  /** A text says why there is none. */
  trail: Trail | string;
};

export const publishGraceMs = 15_000;

const orderFacts = `select order_id as "orderId", status, protocol, customer_id as "customerId", city, total, items::text,
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

/** What each rule needs of the services' databases. Apart from where the rows come from, so that a simulation can ask for them too. */
export type ReadOf = <Row extends pg.QueryResultRow>(service: ServiceName, text: string) => Promise<Row[]>;

export async function readOrders(read: ReadOf): Promise<Map<string, OrderFact>> {
  const rows = await read<WithText<OrderFact>>('order', orderFacts);
  const share = sharing();
  for (const row of rows) {
    row.customerId = share(row.customerId);
    row.city = share(row.city);
  }
  return byOrder(withItems(rows, share));
}
export const readOutboxes = (read: ReadOf) => readAll<OutboxFact>(read, outboxFacts);
export const readOutboxIds = (read: ReadOf) => readAll<Pick<OutboxFact, 'messageId'>>(read, outboxIds);

type Effects = Omit<
  Facts,
  'orders' | 'outboxBefore' | 'stream' | 'speaksOf' | 'outboxAfter' | 'twoPhase' | 'trail'
>;

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
      withItems(
        await read<WithText<ReservationFact>>(
          'inventory',
          'select order_id as "orderId", items::text, status from reservations',
        ),
        sharing(),
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

type WithText<Row> = Omit<Row, 'items'> & { items: string };

/** What many orders have in common is kept once: with 100,000 orders this is half of their memory. */
function withItems<Row extends { items: string }>(rows: Row[], share: (text: string) => string) {
  const parsed = new Map<string, Items>();
  return rows.map((row) => {
    const text = share(row.items);
    const items = parsed.get(text) ?? (JSON.parse(text) as Items);
    if (parsed.size < sharedMax) parsed.set(text, items);
    return Object.assign(row, { items }) as unknown as Omit<Row, 'items'> & { items: Items };
  });
}

/** Different texts, at most: beyond it each row has its own again. */
const sharedMax = 10_000;

function sharing(): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    const same = known.get(text) ?? text;
    if (known.size < sharedMax) known.set(text, same);
    return same;
  };
}

const byOrder = <Row extends { orderId: string }>(rows: readonly Row[]) =>
  new Map(rows.map((row) => [row.orderId, row]));
