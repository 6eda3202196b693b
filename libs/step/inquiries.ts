/**
 * What becomes of a branch that nobody ends: this service asks the coordinator about everything that has stood
 * prepared here for longer than a moment, and does as it says. It runs before anything else of the service,
 * because what stands in doubt holds locks that the service itself may run into: its migrations, its data.
 */
import type pg from 'pg';
import { type Decision, gidOf, type ParticipantName, readGid } from '#libs/contracts/two-phase.ts';
import { barBranches, endPrepared, forgetBranches, preparedGids } from './branches.ts';
import { repeat } from './repeat.ts';

const inquireEveryMs = 1_000;
/** Younger ones are simply under way. */
const inDoubtAfterMs = 2_000;
const forgetEveryTicks = 60;
const forgetRowsMax = 2_000;

export function startInquiries(options: {
  service: ParticipantName;
  pool: pg.Pool;
  now(): Date;
  /** Undefined while the coordinator does not know, or cannot be reached: then the branch stays in doubt. */
  inquire(transactionId: string): Promise<Decision | undefined>;
  onResolved(decision: Decision): void;
  onTrouble(error: unknown, what: string): void;
}): { stop(): Promise<void> } {
  const { service, pool, now, inquire, onResolved, onTrouble } = options;
  let tick = 0;

  async function resolve(gid: string): Promise<void> {
    const read = readGid(gid);
    if (read?.participant !== service) return;
    const decision = await inquire(read.transactionId);
    if (!decision) return;
    await endBranch(pool, service, read.transactionId, decision, now());
    onResolved(decision);
  }

  return repeat({
    pauseMs: inquireEveryMs,
    onTrouble: (error) => onTrouble(error, 'branches in doubt are looked for again'),
    async work() {
      const gids = await preparedGids(pool, inDoubtAfterMs);
      await Promise.all(gids.map((gid) => resolve(gid)));
      tick += 1;
      if (tick % forgetEveryTicks === 0) await forgetBranches(pool, now(), forgetRowsMax);
    },
  });
}

/** Ends what is prepared, as decided. False: nothing was prepared under this id (any more). */
export async function endBranch(
  pool: pg.Pool,
  service: ParticipantName,
  transactionId: string,
  decision: Decision,
  at: Date,
): Promise<boolean> {
  const verb = decision === 'commit' ? 'commit' : 'rollback';
  const found = await endPrepared(pool, verb, gidOf(transactionId, service));
  if (decision === 'abort') await barBranches(pool, [transactionId], at);
  return found;
}
