/**
 * The other ending of a step: the same claim, lock, decide and write as the saga driver's, then PREPARE
 * TRANSACTION in place of COMMIT. The vote is the command tag. What this process knows of a branch beside the
 * database (its open transaction, the messages to publish) may be lost at any moment: a branch that is not
 * prepared is then gone, and one that is prepared is found in pg_prepared_xacts (branch-ends.ts).
 */
import { randomUUIDv7 } from 'node:crypto';
import type pg from 'pg';
import type { ServiceName } from '#libs/contracts/events.ts';
import {
  type BranchOrder,
  gidOf,
  type PerformAnswer,
  type PerformCommand,
  type PrepareAnswer,
  type PrepareCommand,
} from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { openTransaction, type Transaction } from '#libs/postgres/transaction.ts';
import type { TraceBatch } from '#libs/telemetry/batch-trace.ts';
import { type Branch, refuseAborted } from './branch.ts';
import { failureOf } from './branch-failure.ts';
import { intentOf, refusalOf, undoIntentOf } from './branch-intents.ts';
import { enterBranch } from './branches.ts';
import type { Reaction } from './reaction.ts';
import { strikeOrders, strikeStep } from './strike.ts';
import { type Intent, transact, type Verdict } from './transact.ts';

/** A branch that was performed and never asked to prepare: its coordinator is gone, and nobody is in doubt. */
const openMsMax = 15_000;

export type Participation = readonly Reaction[];

export type ParticipantOptions = {
  service: ServiceName;
  participation: Participation;
  /** Of branches only: a branch that waits for a lock must not keep the saga from a connection. */
  pool: pg.Pool;
  injector: Injector;
  traceBatch: TraceBatch;
  now(): Date;
  onVerdicts(verdicts: readonly Verdict[]): void;
  onTrouble(error: unknown, what: string): void;
};

export type Participant = ReturnType<typeof createParticipant>;

export function createParticipant(options: ParticipantOptions) {
  const { service, participation, pool, injector, traceBatch, now, onTrouble } = options;
  const on = (name: string) => participation.filter((reaction) => reaction.on === name);
  const steps = on('request:branch');
  const closing = on('request:close-branch');
  const undoing = on('request:undo-branch');
  const point = steps[0]?.step.name ?? service;
  const branches = new Map<string, Branch>();

  /** A repeat is given the first one's answer. */
  function perform(command: PerformCommand): Promise<PerformAnswer> {
    const { transactionId, orders } = command;
    const known = branches.get(transactionId);
    if (known?.performed) return known.performed;
    const branch: Branch = {
      transactionId,
      orders,
      startedMs: performance.now(),
      at: now(),
      messages: [],
      traces: [],
      refused: new Set(),
      aborted: false,
    };
    branches.set(transactionId, branch);
    branch.performed = performBranch(branch, command.thenPrepare).catch(async (error) => {
      await drop(branch);
      return { transactionId, refusals: [], ...failureOf(error, onTrouble), at: now().toISOString() };
    });
    return branch.performed;
  }

  async function performBranch(branch: Branch, thenPrepare: boolean): Promise<PerformAnswer> {
    const { transactionId, orders } = branch;
    const intents = orders.flatMap((order) => steps.map((reaction) => intentOf(reaction, order, 0)));
    const verdicts = await run(branch, intents);
    refuseAborted(branch);
    const refusals = verdicts.flatMap(refusalOf);
    branch.refused = new Set(refusals.map(({ orderId }) => orderId));
    const answer = { transactionId, refusals, at: now().toISOString() };
    if (!thenPrepare) {
      setTimeout(() => {
        if (branch.open && !branch.prepared) void drop(branch);
      }, openMsMax).unref();
      return answer;
    }
    if (refusals.length > 0) {
      await drop(branch);
      return { ...answer, vote: 'no' };
    }
    return { ...answer, ...(await closeAndPrepare(branch, orders)) };
  }

  function prepare({ transactionId, undo }: PrepareCommand): Promise<PrepareAnswer> {
    const branch = branches.get(transactionId);
    const refusal = { transactionId, vote: 'no', at: now().toISOString() } as const;
    if (!branch?.open && !branch?.prepared) {
      return Promise.resolve({ ...refusal, failure: 'no such branch is open here', retry: true });
    }
    const undone = new Map(undo.map(({ orderId, reason }) => [orderId, reason]));
    branch.prepared ??= prepareBranch(branch, undone).catch(async (error) => {
      await drop(branch);
      return { ...refusal, ...failureOf(error, onTrouble) };
    });
    return branch.prepared;
  }

  async function prepareBranch(branch: Branch, undone: ReadonlyMap<string, string>) {
    const done = branch.orders.filter(({ orderId }) => !branch.refused.has(orderId));
    const refusedElsewhere = done.filter(({ orderId }) => undone.has(orderId));
    const undos = refusedElsewhere.flatMap((order) =>
      undoing.map((reaction) => undoIntentOf(reaction, order, undone.get(order.orderId) ?? '')),
    );
    if (undos.length > 0) await run(branch, undos);
    const standing = done.filter(({ orderId }) => !undone.has(orderId));
    const { refusals = [], ...vote } = await closeAndPrepare(branch, standing);
    const reasons = refusals.map(({ reason }) => reason).join('; ');
    return reasons === '' ? vote : { ...vote, failure: reasons };
  }

  /** The closing steps of the orders that stand, and PREPARE in the flight of their last writes. */
  async function closeAndPrepare(
    branch: Branch,
    standing: readonly BranchOrder[],
  ): Promise<PrepareAnswer & { refusals?: PerformAnswer['refusals'] }> {
    const { transactionId, open } = branch;
    if (!open) throw new Error('no such branch is open here');
    if (standing.length > 0) {
      for (const [index, reaction] of closing.entries()) {
        const verdicts = await run(
          branch,
          standing.map((order) => intentOf(reaction, order, index + 1)),
        );
        const refusals = verdicts.flatMap(refusalOf);
        if (refusals.length > 0) return refuseToClose(branch, refusals);
      }
    }
    await strikeOrders(injector, `${point}.before-prepare`, branch.orders);
    refuseAborted(branch);
    await open.prepare(gidOf(transactionId, service));
    branch.open = undefined;
    branch.preparedAt = now();
    await strikeOrders(injector, `${point}.after-prepare`, branch.orders);
    return { transactionId, vote: 'yes', at: branch.at.toISOString() };
  }

  /** Too late for an order to be taken out alone: this participant votes against the whole transaction. */
  async function refuseToClose(branch: Branch, refusals: PerformAnswer['refusals']) {
    await drop(branch);
    return {
      transactionId: branch.transactionId,
      refusals,
      vote: 'no' as const,
      at: branch.at.toISOString(),
    };
  }

  /** BEGIN and the branch's own row leave in one flight with the first claims. */
  async function enter(branch: Branch): Promise<Transaction> {
    const open = await openTransaction(pool);
    branch.open = open;
    branch.startedMs = performance.now();
    const orderIds = branch.orders.map(({ orderId }) => orderId);
    open.tx.write(enterBranch(open.tx, branch.transactionId, orderIds, now()));
    return open;
  }

  async function run(branch: Branch, intents: readonly Intent[]): Promise<Verdict[]> {
    for (const intent of intents) if (injector.armed(intent.cause)) await strikeStep(injector, intent);
    const trace = traceBatch(service, intents);
    const at = now();
    branch.at = at;
    const tools = { service, now: () => at, newId: randomUUIDv7, traceFor: trace.traceFor };
    try {
      const { verdicts, messages } = await trace.within(async () => {
        const { tx } = branch.open ?? (await enter(branch));
        return transact(tx, intents, tools);
      });
      branch.messages.push(...messages);
      trace.committed(verdicts);
      branch.traces.push(trace);
      options.onVerdicts(verdicts);
      return verdicts;
    } catch (error) {
      trace.failed(error);
      throw error;
    }
  }

  async function drop(branch: Branch): Promise<void> {
    for (const trace of branch.traces) trace.discarded();
    branch.traces = [];
    branches.delete(branch.transactionId);
    await dropOpen(branch);
  }

  async function dropOpen(branch: Branch): Promise<void> {
    const { open } = branch;
    branch.open = undefined;
    await open?.rollback();
  }

  return {
    perform,
    prepare,
    /** The step that names the fault points of a branch. */
    point,
    /** What this process knows of a branch; undefined after a restart, and for another replica's. */
    find: (transactionId: string): Branch | undefined => branches.get(transactionId),
    forget: (transactionId: string) => branches.delete(transactionId),
    /** Branches that this process has prepared, before that time, and has not been told the end of. */
    preparedBefore: (time: Date): Branch[] =>
      [...branches.values()].filter(({ preparedAt }) => preparedAt !== undefined && preparedAt < time),
    /** Rolls back what is not prepared. A vote that is on its way is waited for: the locks' timeout bounds it. */
    async abandon(transactionId: string): Promise<void> {
      const branch = branches.get(transactionId);
      if (!branch) return;
      branch.aborted = true;
      await Promise.allSettled([branch.performed, branch.prepared]);
      await drop(branch);
    },
    /** Names of waiting sessions for the in-doubt list: a branch is called by its transaction. */
    sessionNames: (): Map<number, string> =>
      new Map(
        [...branches.values()].flatMap(({ open, transactionId }) =>
          open ? [[open.pid, `2pc:${transactionId}`]] : [],
        ),
      ),
    async stop(): Promise<void> {
      for (const branch of branches.values()) branch.aborted = true;
      // Not under a running step: what it writes after a ROLLBACK would be a transaction of its own.
      await Promise.all(
        [...branches.values()].map(async (branch) => {
          await Promise.allSettled([branch.performed, branch.prepared]);
          await dropOpen(branch);
        }),
      );
    },
  };
}
