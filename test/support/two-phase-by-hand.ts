/** A coordinator's part, played by a test: single commands to single participants. */
import { randomUUIDv7 } from 'node:crypto';
import { expect } from 'vitest';
import {
  type BranchOrder,
  type EndAnswer,
  gidOf,
  type PerformAnswer,
  type PrepareAnswer,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { ask } from './service.ts';
import { audit, preparedGids } from './two-phase.ts';
import { write } from './write.ts';

/** Transactions that a test prepared by hand: whatever happens, none of them is left standing. */
const byHand = new Set<string>();

/** After each test. */
export async function abortAll(): Promise<void> {
  for (const transactionId of byHand) {
    for (const name of participantNames) await command(name, 'abort', { transactionId });
  }
  byHand.clear();
  expect(await preparedGids()).toEqual([]);
}

export function begun(transactionId: string = randomUUIDv7()): string {
  byHand.add(transactionId);
  return transactionId;
}

export const perform = (service: string, body: object) => command<PerformAnswer>(service, 'perform', body);
export const prepare = (service: string, transactionId: string) =>
  command<PrepareAnswer>(service, 'prepare', { transactionId, undo: [] });
export const commit = (service: string, transactionId: string) =>
  command<EndAnswer>(service, 'commit', { transactionId });
export const abort = (service: string, transactionId: string) =>
  command<EndAnswer>(service, 'abort', { transactionId });
export const isPrepared = async (transactionId: string, service: string) =>
  (await preparedGids()).filter((gid) => gid === gidOf(transactionId, service)).length;
export const stateOf = async (service: string, transactionId: string) => {
  const rows = await audit(service, 'select state from branches where transaction_id = $1', [transactionId]);
  return rows.map(({ state }) => state);
};

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
async function command<Body>(service: string, verb: string, body: object): Promise<Body> {
  const answer = await ask(service, 'POST', `/two-phase/${verb}`, JSON.stringify({ commands: [body] }));
  expect(answer.status, answer.text).toBe(200);
  return JSON.parse(answer.text).answer as Body;
}

/** A branch that was committed alone, which no coordinator does: no invariant would forgive it. */
export async function forgetAssignment(transactionId: string, orderId: string): Promise<void> {
  await write('logistics', 'delete from assignments where order_id = $1', [orderId]);
  await write('logistics', 'delete from journal where order_id = $1', [orderId]);
  await write('logistics', 'delete from branches where transaction_id = $1', [transactionId]);
}
