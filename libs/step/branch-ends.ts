/**
 * How a branch ends, and what becomes of one that nobody ends. Both ends may be asked for twice, late, and of
 * another replica than the one that prepared: what is decided stands in the database.
 */
import type pg from 'pg';
import type { ServiceName } from '#libs/contracts/events.ts';
import { type Decision, type EndAnswer, gidOf, readGid } from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import {
  type BranchState,
  barBranches,
  branchState,
  endPrepared,
  forgetBranches,
  preparedGids,
  recordHeuristic,
} from './branches.ts';
import type { OutboxPublisher } from './outbox-publisher.ts';
import type { Participant } from './participant.ts';
import { repeat } from './repeat.ts';
import { crashOrDelay } from './strike.ts';

const inquireEveryMs = 1_000;
/** Younger ones are simply under way. */
const inDoubtAfterMs = 2_000;
const forgetEveryTicks = 60;
const forgetRowsMax = 2_000;

export type BranchEndsOptions = {
  service: ServiceName;
  participant: Participant;
  /** Of ends only: when every other connection waits for a lock, an end is what releases it. */
  pool: pg.Pool;
  publisher: OutboxPublisher;
  injector: Injector;
  now(): Date;
  /** Asks the coordinator; undefined while it does not know or cannot be reached. */
  inquire(transactionId: string): Promise<Decision | undefined>;
  /** Rows of so many orders were locked for so long. */
  onReleased(seconds: number, orders: number): void;
  onTrouble(error: unknown, what: string): void;
};

export type BranchEnds = ReturnType<typeof createBranchEnds>;

export function createBranchEnds(options: BranchEndsOptions) {
  const { service, participant, pool, publisher, injector, now, inquire, onReleased, onTrouble } = options;

  async function commit(transactionId: string): Promise<EndAnswer> {
    const branch = participant.find(transactionId);
    if (branch) await crashOrDelay(injector, `${participant.point}.before-commit-prepared`, branch.orders);
    const found = await endPrepared(pool, 'commit', gidOf(transactionId, service));
    if (!found) return { transactionId, state: endOf('commit', await branchState(pool, transactionId)) };
    if (branch) {
      onReleased((now().getTime() - branch.startedAt.getTime()) / 1_000, branch.orders.length);
      participant.forget(transactionId);
      // What another replica prepared, or this one before a crash, its relay publishes.
      void publisher.publish(branch.messages);
    }
    return { transactionId, state: 'ended' };
  }

  async function abort(transactionId: string): Promise<EndAnswer> {
    await participant.abandon(transactionId);
    await endPrepared(pool, 'rollback', gidOf(transactionId, service));
    await barBranches(pool, [transactionId], now());
    return { transactionId, state: endOf('abort', await branchState(pool, transactionId)) };
  }

  /** An operator's decision, against or without the coordinator's. Recorded for the checker. */
  async function force(transactionId: string, decision: Decision): Promise<boolean> {
    const verb = decision === 'commit' ? 'commit' : 'rollback';
    const found = await endPrepared(pool, verb, gidOf(transactionId, service));
    if (found) await recordHeuristic(pool, transactionId, `heuristic-${decision}`, now());
    participant.forget(transactionId);
    return found;
  }

  let tick = 0;
  const inquiries = repeat({
    pauseMs: inquireEveryMs,
    onTrouble: (error) => onTrouble(error, 'branches in doubt are looked for again'),
    async work() {
      const gids = await preparedGids(pool, inDoubtAfterMs);
      await Promise.all(gids.map((gid) => resolve(gid)));
      tick += 1;
      if (tick % forgetEveryTicks === 0) await forgetBranches(pool, now(), forgetRowsMax);
    },
  });

  async function resolve(gid: string): Promise<void> {
    const read = readGid(gid);
    if (read?.participant !== service) return;
    const { transactionId } = read;
    const decision = await inquire(transactionId);
    if (decision) await (decision === 'commit' ? commit(transactionId) : abort(transactionId));
  }

  return { commit, abort, force, stop: () => inquiries.stop() };
}

/** The state of a branch that is not prepared (any more), as the answer to who wants it ended so. */
function endOf(wanted: Decision, state: BranchState | undefined): EndAnswer['state'] {
  const committed = state === 'prepared' || state === 'heuristic-commit';
  return committed === (wanted === 'commit') ? 'ended' : 'contradicts';
}
