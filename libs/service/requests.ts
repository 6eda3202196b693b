/** Requests (from HTTP or a timer) as causes for the driver: the same steps, journal and outbox as events. */
import { Problem } from '#libs/contracts/problems.ts';
import { isOutage } from '#libs/postgres/errors.ts';
import type { Reaction } from '#libs/step/reaction.ts';
import type { SagaDriver } from '#libs/step/saga-driver.ts';
import type { Verdict } from '#libs/step/transact.ts';
import type { ServiceContext } from './definition.ts';

/** Requests that wait for a transaction at most; more are told to come back. */
const waitingMax = 5_000;

export function createRequester(
  reactions: readonly Reaction[],
  driver: SagaDriver,
): ServiceContext['request'] {
  const byName = new Map(reactions.map((reaction) => [reaction.on, reaction]));
  return (on, cause) => {
    const reaction = byName.get(on);
    if (!reaction) throw new Error(`no reaction is called ${on}`);
    if (driver.waiting() >= waitingMax)
      throw new Problem('service-unavailable', 'too many requests are waiting');
    return new Promise<Verdict>((resolve, reject) => {
      driver.submit([
        {
          intent: { reaction, cause: { ...cause, lamport: 0 }, attempt: 1 },
          patient: false,
          committed: resolve,
          failed: (error) => reject(isOutage(error) ? outage(error) : error),
        },
      ]);
    });
  };
}

/** The commit may have happened all the same: who repeats with the same Idempotency-Key finds out. */
const outage = (cause: unknown) =>
  new Problem('service-unavailable', 'the database cannot be reached; whether this took effect is unknown', {
    cause,
  });
