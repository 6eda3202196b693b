/**
 * How a branch ends when it is told to. Both ends may be asked for twice, late, and of another replica than the
 * one that prepared: what is decided stands in the database. Nobody tells: see inquiries.ts.
 */
import type pg from 'pg';
import { type Decision, type EndAnswer, gidOf, type ParticipantName } from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { type BranchState, branchState, endPrepared, recordHeuristic } from './branches.ts';
import { endBranch } from './inquiries.ts';
import type { OutboxPublisher } from './outbox-publisher.ts';
import type { Participant } from './participant.ts';
import { crashOrDelay } from './strike.ts';

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

export type BranchEnds = ReturnType<typeof createBranchEnds>;

export function createBranchEnds(options: BranchEndsOptions) {
  const { service, participant, pool, publisher, injector, now, onReleased } = options;

  async function commit(transactionId: string): Promise<EndAnswer> {
    const branch = participant.find(transactionId);
    if (branch) await crashOrDelay(injector, `${participant.point}.before-commit-prepared`, branch.orders);
    const found = await endBranch(pool, service, transactionId, 'commit', now());
    participant.forget(transactionId);
    if (!found) return { transactionId, state: endOf('commit', await branchState(pool, transactionId)) };
    if (branch) {
      onReleased((now().getTime() - branch.startedAt.getTime()) / 1_000, branch.orders.length);
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

  /** An operator's decision, against or without the coordinator's. Recorded for the checker. */
  async function force(transactionId: string, decision: Decision): Promise<boolean> {
    const verb = decision === 'commit' ? 'commit' : 'rollback';
    const found = await endPrepared(pool, verb, gidOf(transactionId, service));
    if (!found) return false;
    await recordHeuristic(pool, transactionId, `heuristic-${decision}`, now());
    participant.forget(transactionId);
    return true;
  }

  return { commit, abort, force };
}

/** The state of a branch that is not prepared (any more), as the answer to who wants it ended so. */
function endOf(wanted: Decision, state: BranchState | undefined): EndAnswer['state'] {
  const committed = state === 'prepared' || state === 'heuristic-commit';
  return committed === (wanted === 'commit') ? 'ended' : 'contradicts';
}
