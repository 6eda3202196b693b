/** Why a participant votes no without having refused, and whether it is worth trying again. */
import type { PrepareAnswer } from '#libs/contracts/two-phase.ts';
import { InjectedError } from '#libs/faults/injector.ts';
import { isContention, isOutage } from '#libs/postgres/errors.ts';

export class ToldToAbort extends Error {
  constructor() {
    super('told to abort meanwhile');
    this.name = 'ToldToAbort';
  }
}

const uniqueViolation = '23505';

/** Why there is no vote but no. Nothing that is wrong here is wrong with the order: it may be tried again. */
export function failureOf(
  error: unknown,
  onTrouble: (error: unknown, what: string) => void,
): Pick<PrepareAnswer, 'vote' | 'failure' | 'retry'> {
  const { code, message } = error as { code?: string; message?: string };
  if (code === uniqueViolation) return { vote: 'no', failure: 'this branch was prepared or barred before' };
  const retry = isContention(error) || isOutage(error) || error instanceof InjectedError;
  if (retry || error instanceof ToldToAbort) return { vote: 'no', failure: message ?? '', retry };
  // What is told goes to whoever placed the order; what happened is for the log.
  onTrouble(error, 'a branch failed');
  return { vote: 'no', failure: 'the step failed', retry };
}
