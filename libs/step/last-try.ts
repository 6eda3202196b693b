/**
 * What is delivered again and again without an end may be what ends the process; or else it is only late: copies of a
 * message that waited for long, or of one whose acknowledgements were lost. So beyond a bound, far above any number of
 * restarts that a message should live through, comes one more try that is written down before it begins. A step is
 * set aside unhandled when a later delivery finds it written down still: a letter must not stand for what took effect.
 *
 * An undo has no last try, it is tried for ever. One that has come more often than it may fail, and has never failed,
 * is written down as well: whoever looks for what is stuck must find it.
 */
import { attemptsMax, type Failure, type Known } from './failures.ts';
import { type Envelope, failureOf, type Readable } from './read-message.ts';

export const deliveriesMax = 8 * attemptsMax;

export type Tries = {
  /** To be handled. */
  live: Readable[];
  /** Of those: written down before they are tried. */
  noteFirst: Readable[];
  /** Their last try was made, and nobody lived to tell of it. */
  deadly: Readable[];
};

export function withLastTry(
  readable: readonly Readable[],
  knownOf: (one: Readable) => Known | undefined,
  delivery: number,
  isOutlived: (one: Readable) => boolean,
): Tries {
  const isBeyond = delivery > deliveriesMax;
  const isDeadly = (one: Readable) =>
    isBeyond && isStep(one) && wasTriedBefore(knownOf(one), delivery) && !isOutlived(one);
  const isSilent = (one: Readable) => !isStep(one) && delivery > attemptsMax && knownOf(one) === undefined;
  const live = readable.filter((one) => !isDeadly(one));
  return {
    live,
    noteFirst: live.filter((one) => (isBeyond && isStep(one)) || isSilent(one)),
    deadly: readable.filter(isDeadly),
  };
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
