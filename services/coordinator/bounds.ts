/** How long a coordinator waits for whom, and from when on recovery thinks it dead: they hang on each other. */
import { branchLockMsMax } from '#libs/contracts/two-phase.ts';

/** For the work itself, before and after a wait. */
const workMsMax = 2_000;

/**
 * For a vote: above a participant's wait for a lock, so that one that is not to be had is told and not guessed. A
 * branch that waits for a connection first, or for one lock after another, may take longer: its vote is a no.
 */
export const voteMsMax = branchLockMsMax + workMsMax;

/** A log that stands still is as good as away. */
export const logMsMax = 5_000;

/** One after another: payment's, then inventory's. */
const votesInTurn = 2;
const slackMs = 1_000;

/**
 * From its begin on: 20 s, above the votes of a single transaction and one answer of the log. It is not above
 * everything: the prepare of a group is a third wait, and a log that is away is tried again (transaction.ts). Who is
 * slower than this loses its transaction to recovery. That is safe, because the log lets one decision stand, and
 * wasteful: its order is tried again, or answered as aborted. A higher bound would leave the rows of a dead coordinator
 * locked for longer.
 */
export const undecidedMsMax = votesInTurn * voteMsMax + logMsMax + slackMs;

/** The one way in which the coordinator tries again: after a pause that doubles, and that no two of them share. */
export const pauseBeforeRetry = (attempt: number, firstMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, firstMs * 2 ** (attempt - 1) * (0.5 + Math.random())));
