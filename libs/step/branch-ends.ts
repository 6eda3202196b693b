/**
 * How a branch ends when it is told to. Both ends may be asked for twice, late, and of another replica than the
 * one that prepared: what is decided stands in the database. Nobody tells: see inquiries.ts.
 */
import type pg from 'pg';
import { type Decision, type EndAnswer, gidOf, type ParticipantName } from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import type { Branch } from './branch.ts';
import {
  type BranchState,
  barBranches,
  branchState,
  endPrepared,
  isPrepared,
  preparedGids,
} from './branches.ts';
import { noteForce, recordForced, wasForced, withdrawForce, withdrawForces } from './forced-ends.ts';
import { endBranch } from './inquiries.ts';
import type { OutboxPublisher } from './outbox-publisher.ts';
import type { Participant } from './participant.ts';
import { strikeOrders } from './strike.ts';

export type BranchEndsOptions = {
  service: ParticipantName;
  participant: Participant;
  /** Of ends only: when every other connection waits for a lock, an end is what releases it. */
  pool: pg.Pool;
  publisher: OutboxPublisher;
  injector: Injector;
  now(): Date;
  /** Rows of so many orders were locked for so long. */
  onReleased(seconds: number, orders: number): void;
};

type ForcedEnd = Exclude<EndAnswer['state'], 'failed'>;

export type BranchEnds = ReturnType<typeof createBranchEnds>;

/** After so long whoever ends a branch has mostly been told to; the rest is asked for in the database. */
const endedElsewhereAfterMs = 5_000;

export function createBranchEnds(options: BranchEndsOptions) {
  const { service, participant, pool, publisher, injector, now, onReleased } = options;

  async function commit(transactionId: string): Promise<EndAnswer> {
    const branch = participant.find(transactionId);
    if (branch) await strikeOrders(injector, `${participant.point}.before-commit-prepared`, branch.orders);
    const found = await endBranch(pool, service, transactionId, 'commit', now());
    if (!found) {
      const state = await branchState(pool, transactionId);
      letGo(branch, isCommitted(state));
      return { transactionId, state: endOf('commit', state) };
    }
    participant.forget(transactionId);
    if (branch) {
      onReleased((performance.now() - branch.startedMs) / 1_000, branch.orders.length);
      // What another replica prepared, or this one before a crash, its relay publishes.
      void publisher.publish(branch.messages, () => {
        for (const trace of branch.traces) trace.published();
      });
    }
    return { transactionId, state: 'ended' };
  }

  async function abort(transactionId: string): Promise<EndAnswer> {
    await participant.abandon(transactionId);
    await endBranch(pool, service, transactionId, 'abort', now());
    return { transactionId, state: endOf('abort', await branchState(pool, transactionId)) };
  }

  /**
   * An operator's decision, against or without the coordinator's, which may come between any two of these lines.
   * Undefined: there is no such branch, and there was none that an operator has ended so.
   */
  async function force(transactionId: string, decision: Decision): Promise<ForcedEnd | undefined> {
    const gid = gidOf(transactionId, service);
    if (await isPrepared(pool, gid)) {
      const id = await noteForce(pool, transactionId, decision, now());
      if (await endPrepared(pool, decision === 'commit' ? 'commit' : 'rollback', gid)) {
        await recordForced(pool, { id, transactionId, decision }, now());
        letGo(participant.find(transactionId), decision === 'commit');
        return 'ended';
      }
      await withdrawForce(pool, transactionId, id);
    }
    return forcedBefore(transactionId, decision);
  }

  /** Who got no answer asks again: by then the branch has ended, by the operator or by somebody else. */
  async function forcedBefore(transactionId: string, decision: Decision): Promise<ForcedEnd | undefined> {
    if (!(await wasForced(pool, transactionId, decision))) return undefined;
    if (decision === 'abort') await barBranches(pool, [transactionId], now());
    const state = endOf(decision, await branchState(pool, transactionId));
    if (state === 'contradicts') await withdrawForces(pool, transactionId, decision);
    return state;
  }

  /**
   * What this process prepared and another replica, an inquiry or an operator has ended: its rows are free, the relays
   * publish what it had to say, and what is left of it here goes. How long it held its rows nobody has measured.
   */
  async function forgetEndedElsewhere(): Promise<void> {
    const mine = participant.preparedBefore(new Date(now().getTime() - endedElsewhereAfterMs));
    if (mine.length === 0) return;
    const standing = new Set(await preparedGids(pool, 0));
    for (const branch of mine) {
      if (standing.has(gidOf(branch.transactionId, service))) continue;
      letGo(branch, isCommitted(await branchState(pool, branch.transactionId)));
    }
  }

  /** It was not ended here. Only the spans of what it said are left to end: the relay sends it, or nobody does. */
  function letGo(branch: Branch | undefined, committed: boolean): void {
    // Meanwhile it may have been told here as well: then there is nothing left to say about it.
    if (!branch || !participant.forget(branch.transactionId)) return;
    for (const trace of branch.traces) {
      if (committed) trace.published();
      else trace.discarded();
    }
  }

  return { commit, abort, force, forgetEndedElsewhere };
}

/** The state of a branch that is not prepared (any more), as the answer to who wants it ended so. */
function endOf(wanted: Decision, state: BranchState | undefined): ForcedEnd {
  return isCommitted(state) === (wanted === 'commit') ? 'ended' : 'contradicts';
}

/** A branch's own row is visible exactly when the branch is committed. */
const isCommitted = (state: BranchState | undefined): boolean =>
  state === 'prepared' || state === 'heuristic-commit';
