/**
 * What is delivered again and again without an end may be what ends the process; or else it is only late: copies of a
 * message that waited for long, or of one whose acknowledgements were lost. So beyond a bound, far above any number of
 * restarts that a message should live through, comes one more try that is written down before it begins. A step is
 * set aside unhandled when a later delivery finds it written down still: a letter must not stand for what took effect.
 */
import { attemptsMax, type Failure, type Known } from './failures.ts';
import { type Envelope, failureOf, type Readable } from './read-message.ts';

export const deliveriesMax = 8 * attemptsMax;

export type Tries = {
  /** To be handled. */
  live: Readable[];
  /** Of those: this is their last try. An undo has none, it is tried for ever. */
  last: Readable[];
  /** Their last try was made, and nobody lived to tell of it. */
  deadly: Readable[];
};

export function withLastTry(
  readable: readonly Readable[],
  knownOf: (one: Readable) => Known | undefined,
  delivery: number,
  isOutlived: (one: Readable) => boolean,
): Tries {
  if (delivery <= deliveriesMax) return { live: [...readable], last: [], deadly: [] };
  const isDeadly = (one: Readable) =>
    isStep(one) && wasTriedBefore(knownOf(one), delivery) && !isOutlived(one);
  const live = readable.filter((one) => !isDeadly(one));
  return { live, last: live.filter(isStep), deadly: readable.filter(isDeadly) };
}

export const beforeLastTry = (envelope: Envelope, one: Readable, deliveries: number): Failure =>
  failureOf(
    envelope,
    one,
    `delivered ${deliveries} times and never ended: it may be what ends the process`,
    // What an earlier delivery wrote can so be told from this one, and from what has only failed.
    { attempts: deliveries },
  );

const isStep = ({ reaction }: Readable): boolean => reaction.direction === 'do';

/** A copy that was sent before the last try, and comes to hand after it, says nothing about its end. */
const wasTriedBefore = (known: Known | undefined, delivery: number): boolean =>
  known !== undefined && known.attempts > deliveriesMax && known.attempts < delivery;
