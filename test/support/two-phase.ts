/** What the tests of two-phase commit say and ask: orders, and what stands or is in doubt in which database. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { expect } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { signalProcess } from '#lab/process.ts';
import { orderIdOf } from '#libs/contracts/order-id.ts';
import type { Order, OrderFault, TwoPhaseMode } from '#libs/contracts/orders.ts';
import {
  type Decision,
  gidOf,
  type InDoubtItem,
  type ParticipantName,
  participantNames,
  type Resolution,
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
import { metric } from './service.ts';

export type TwoPhaseRequest = OrderRequest & { twoPhase?: TwoPhaseMode };
/** The finished order, or a problem: the status tells which. */
export type Placed = Answer<Order & Omit<ProblemBody, 'status'> & { instance?: string }>;

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

/**
 * Waits until nothing of this order is in doubt and the log calls every transaction of it ended. The log may know of
 * none: it was away before one began, or has lost a begin record, which is not synced. Then nothing may be anywhere.
 */
export async function settled(orderId: string, withinMs = settledWithinMs): Promise<LoggedTransaction[]> {
  return eventually(
    `nothing of ${orderId} is in doubt`,
    async () => {
      const transactions = await transactionsOf(orderId);
      const ids = transactions.map(({ transactionId }) => transactionId);
      const gids = (await preparedGids()).filter((gid) => ids.some((id) => gid.includes(id)));
      if (gids.length > 0) throw new Error(`prepared: ${gids.join(', ')}`);
      if (transactions.length === 0) await assertNowhere(orderId);
      if (!transactions.every(({ ended }) => ended)) throw new Error(JSON.stringify(transactions));
      return transactions;
    },
    withinMs,
  );
}

/** What is prepared may be this order's as well: only the log could tell. */
async function assertNowhere(orderId: string): Promise<void> {
  expect(await preparedGids()).toEqual([]);
  expect(await standingOf(orderId), 'the log has no transaction of it').toEqual(nothingOfIt);
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

/** Held after all have voted, so that there is time to look at what is in doubt, or to do something to it. */
export const undecided = (ms: number): OrderFault[] => [
  { at: 'coordinator.before-decision', do: 'delay', ms },
];

/** An order that all have voted for and nobody has decided. */
export async function hold(over: { customerId: string; dishId: string; ms: number }) {
  const { customerId, dishId, ms } = over;
  const { key, orderId } = keyed();
  const fired = await firedAt('coordinator', 'coordinator.before-decision', 'delay');
  const items = [{ dishId, quantity: 1 }];
  const answered = placeIn2pc({ customerId, items, faults: undecided(ms) }, key);
  const [item] = await preparedEverywhere(orderId);
  expect(await firedAt('coordinator', 'coordinator.before-decision', 'delay')).toBe(fired + 1);
  const transactionId = item?.transactionId ?? '';
  return { orderId, answered, transactionId, gid: (service: string) => gidOf(transactionId, service) };
}

export const resolve = (gid: string, body?: object, token?: string) =>
  call<Resolution & ProblemBody>('POST', `/api/in-doubt/${encodeURIComponent(gid)}/resolve`, {
    ...(body ? { body } : {}),
    ...(token ? { headers: { authorization: `Bearer ${token}` } } : {}),
  });
