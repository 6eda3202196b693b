/** Requests (from HTTP or a timer) as causes for the driver: the same steps, journal and outbox as events. */
import { Problem } from '#libs/contracts/problems.ts';
import { isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import type { Reaction } from '#libs/step/reaction.ts';
import type { SagaDriver } from '#libs/step/saga-driver.ts';
import type { Verdict } from '#libs/step/transact.ts';
import type { ServiceContext } from './definition.ts';

/** Requests that wait for a transaction at most; more are told to come back. */
const waitingMax = 5_000;
/** An attempt that throws is repeated, as a message's is, but only while a person would wait: 0.75 s in all. */
const attemptsMax = 5;
const retryMsMin = 50;

export function createRequester(
  reactions: readonly Reaction[],
  driver: SagaDriver,
): ServiceContext['request'] {
  const byName = new Map(reactions.map((reaction) => [reaction.on, reaction]));
  return (on, cause, roundsBefore = 0) => {
    const reaction = byName.get(on);
    if (!reaction) throw new Error(`no reaction is called ${on}`);
    if (driver.waiting() >= waitingMax) throw new Problem('overloaded', 'too many requests are waiting');
    const takenAtMs = performance.now();
    return new Promise<Verdict>((resolve, reject) => {
      const submit = (attempt: number) => {
        const failed = (error: unknown) => {
          const unavailable = unavailability(error);
          if (unavailable) reject(unavailable);
          else if (attempt >= attemptsMax) reject(error);
          else setTimeout(submit, retryMsMin * 2 ** (attempt - 1), attempt + 1);
        };
        const counted = roundsBefore * attemptsMax + attempt;
        const intent = { reaction, cause: { ...cause, lamport: 0 }, attempt: counted, takenAtMs };
        driver.submit([{ intent, patient: false, committed: resolve, failed }]);
      };
      submit(1);
    });
  };
}

/** What a person is told when it is nobody's fault; undefined when it is a failure of this very work. */
export function unavailability(error: unknown): Problem | undefined {
  if (isOutage(error)) return outage(error);
  return isLockTimeout(error) ? held(error) : undefined;
}

/** The commit may have happened all the same: who repeats with the same Idempotency-Key finds out. */
const outage = (cause: unknown) =>
  new Problem('service-unavailable', 'the database cannot be reached; whether this took effect is unknown', {
    cause,
  });

/** The driver has waited already, for as long as a person would. */
const held = (cause: unknown) =>
  new Problem('service-unavailable', 'another transaction holds what this order needs; try again', { cause });
