/** What the tests of two-phase commit say and ask: orders, branches by hand, and what stands in which database. */
import { randomUUID, randomUUIDv7 } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { expect } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { signalProcess } from '#lab/process.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, TwoPhaseMode } from '#libs/contracts/orders.ts';
import {
  type BranchOrder,
  type Decision,
  type InDoubtItem,
  type ParticipantName,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import {
  type Answer,
  call,
  get,
  type OrderRequest,
  orderBody,
  type ProblemBody,
  placedInTest,
  system,
} from './api.ts';
import { eventually } from './eventually.ts';
import { ask, metric } from './service.ts';

export type TwoPhaseRequest = OrderRequest & { twoPhase?: TwoPhaseMode };
/** The finished order, or a problem: the status tells which. */
export type Placed = Answer<Order & ProblemBody & { instance?: string }>;

/** The key comes first, so that a test knows the order's id even when it is never told. */
export function keyed(): { key: string; orderId: string } {
  const key = randomUUID();
  return { key, orderId: orderIdOf(key) };
}

export const bodyOf = (over: TwoPhaseRequest = {}) => ({ ...orderBody(over), protocol: '2pc' });

export async function placeIn2pc(over: TwoPhaseRequest = {}, key: string = randomUUID()): Promise<Placed> {
  placedInTest.push(orderIdOf(key));
  return call('POST', '/api/orders', { body: bodyOf(over), headers: { 'idempotency-key': key } });
}

/** Reads as the auditor, who can change nothing. */
export async function audit<Row extends pg.QueryResultRow>(
  name: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: system.databases[name]?.auditUrl });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** What stands prepared, anywhere. */
export async function preparedGids(): Promise<string[]> {
  const found = await Promise.all(
    participantNames.map((name) => audit<{ gid: string }>(name, 'select gid from pg_prepared_xacts')),
  );
  return found.flat().map(({ gid }) => gid);
}

const standing = {
  order: 'select status from orders where order_id = $1',
  payment: 'select status from payments where order_id = $1',
  inventory: 'select status from reservations where order_id = $1',
  logistics: 'select status from assignments where order_id = $1',
} as const satisfies Record<ParticipantName, string>;

/** The order's row in each database; null where there is none. */
export async function standingOf(orderId: string): Promise<Record<ParticipantName, string | null>> {
  const entries = participantNames.map(async (name) => {
    const [row] = await audit<{ status: string }>(name, standing[name], [orderId]);
    return [name, row?.status ?? null] as const;
  });
  return Object.fromEntries(await Promise.all(entries)) as Record<ParticipantName, string | null>;
}

export const allOfIt = {
  order: 'DISPATCHED',
  payment: 'charged',
  inventory: 'reserved',
  logistics: 'assigned',
} as const;
export const nothingOfIt = { order: null, payment: null, inventory: null, logistics: null } as const;

export type LoggedTransaction = { transactionId: string; decision: Decision | null; ended: boolean };

/** The transactions that tried this order, the first one first. */
export const transactionsOf = (orderId: string) =>
  audit<LoggedTransaction>(
    'coordinator',
    `select transaction_id as "transactionId", decision, ended_at is not null as ended from transactions
     where orders @> jsonb_build_array(jsonb_build_object('orderId', $1::text)) order by began_at`,
    [orderId],
  );

const settledWithinMs = 30_000;

/** Waits until nothing of ours is in doubt and the log calls every transaction of this order ended. */
export async function settled(orderId: string, withinMs = settledWithinMs): Promise<LoggedTransaction[]> {
  return eventually(
    `nothing of ${orderId} is in doubt`,
    async () => {
      const gids = await preparedGids();
      if (gids.length > 0) throw new Error(`prepared: ${gids.join(', ')}`);
      const transactions = await transactionsOf(orderId);
      if (!transactions.every(({ ended }) => ended)) throw new Error(JSON.stringify(transactions));
      return transactions;
    },
    withinMs,
  );
}

/** All four databases and the decision log say the same; gives what they say. */
export async function oneOutcomeOf(orderId: string): Promise<Decision> {
  const transactions = await settled(orderId);
  const commits = transactions.filter(({ decision }) => decision === 'commit').length;
  expect(commits, JSON.stringify(transactions)).toBeLessThanOrEqual(1);
  expect(await standingOf(orderId)).toEqual(commits === 1 ? allOfIt : nothingOfIt);
  return commits === 1 ? 'commit' : 'abort';
}

export type InDoubtList = { items: InDoubtItem[]; missing: string[] };
export const inDoubt = () => get<InDoubtList>('/api/in-doubt');

export const inDoubtOf = async (orderId: string) =>
  (await inDoubt()).items.filter(({ orderIds }) => orderIds.includes(orderId));

/** Waits until the order stands prepared in every database. */
export const preparedEverywhere = (orderId: string) =>
  eventually(`${orderId} is prepared everywhere`, async () => {
    const items = await inDoubtOf(orderId);
    return items.length === participantNames.length ? items : undefined;
  });

export const firedAt = (service: string, point: string, action: string) =>
  metric(service, new RegExp(`^saga_faults_fired_total\\{point="${point}",action="${action}"`));

/** How often the launcher saw this part die of a SIGKILL. */
export const killsOf = (part: string): number =>
  readFileSync(system.launcherLog, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${part} ended unasked (SIGKILL)`)).length;

/** SIGSTOP, until it is disposed of: a test that fails leaves nobody standing still. */
export function pausing(part: string): Disposable & { resume(): void } {
  const found = runningLab(system.home).parts[part]?.process;
  if (!found) throw new Error(`${part} is not running`);
  signalProcess(found, 'SIGSTOP');
  const resume = () => signalProcess(found, 'SIGCONT');
  return { resume, [Symbol.dispose]: resume };
}

/** A UUIDv7 of that time: how old a transaction is that nobody began is read from its id. */
export function transactionIdAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-${randomUUIDv7().slice(14)}`;
}

/** An order as the coordinator would tell it to a participant. */
export const branchOrderOf = (over: Partial<BranchOrder> = {}): BranchOrder => ({
  orderId: randomUUIDv7(),
  commandId: randomUUIDv7(),
  attempt: 1,
  traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
  customerId: 'asha',
  city: 'bengaluru',
  items: [{ dishId: 'masala-dosa', quantity: 1 }],
  total: 12_000,
  bodyHash: null,
  createdAt: new Date().toISOString(),
  ...over,
});

/** One command to a participant, as the coordinator sends it, and the one answer to it. */
export async function command<Body>(service: string, verb: string, body: object): Promise<Body> {
  const answer = await ask(service, 'POST', `/two-phase/${verb}`, JSON.stringify({ commands: [body] }));
  expect(answer.status, answer.text).toBe(200);
  return JSON.parse(answer.text).answer as Body;
}
