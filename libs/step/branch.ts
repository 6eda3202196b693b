/** What this process knows of a branch: it may be lost at any moment, and nothing hangs on it. */
import type { BranchOrder, PerformAnswer, PrepareAnswer } from '#libs/contracts/two-phase.ts';
import type { Transaction } from '#libs/postgres/transaction.ts';
import type { BatchTrace } from '#libs/telemetry/batch-trace.ts';
import { ToldToAbort } from './branch-failure.ts';
import type { OutboxMessage } from './outbox.ts';

export type Branch = {
  transactionId: string;
  orders: readonly BranchOrder[];
  /** By the monotonic clock: how long it holds its rows is measured by it. */
  startedMs: number;
  /** Until it is prepared or rolled back. */
  open?: Transaction | undefined;
  messages: OutboxMessage[];
  /** Of its steps: what they say is sent after the commit, or never. */
  traces: BatchTrace[];
  performed?: Promise<PerformAnswer>;
  prepared?: Promise<PrepareAnswer>;
  /** When this participant voted yes. */
  preparedAt?: Date;
  /** Of its last steps: the time that its rows bear. */
  at: Date;
  /** Orders that this participant refused: nothing was done for them here. */
  refused: Set<string>;
  /** Told to abort, perhaps while its steps still wait for a lock. */
  aborted: boolean;
};

export function refuseAborted({ aborted }: Branch): void {
  if (aborted) throw new ToldToAbort();
}
