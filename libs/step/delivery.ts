/**
 * One message from the bus as items for the driver, and its end: acknowledged when every event in it is settled,
 * given back with a growing pause when one failed. What failed too often, or cannot be read, is set aside in the
 * service's own database (docs/decisions/0022-dead-letters.md). An undo never is: it is retried for ever and
 * reported as stuck.
 *
 * Attempts are counted where they fail, in the database: a restart, or an outage, is nobody's failure and uses none
 * up. What ends the process never gets so far as to fail, so deliveries have a bound of their own (last-try.ts).
 */
import type { JsMsg } from '@nats-io/jetstream';
import { ackWaitMs } from '#libs/nats/streams.ts';
import { isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import { attemptsMax, type Failure, type Failures, type Known } from './failures.ts';
import { beforeLastTry, withLastTry } from './last-try.ts';
import type { Reaction } from './reaction.ts';
import {
  causeOf,
  type Envelope,
  failureOf,
  fingerprintOf,
  type Readable,
  readMessage,
  unreadableFailure,
} from './read-message.ts';
import type { Item } from './saga-driver.ts';

const retryMsMin = 100;
const retryMsMax = 10_000;

export type DeliveryOptions = {
  reactions: ReadonlyMap<string, Reaction>;
  failures: Failures;
  submit(items: readonly Item[]): void;
  onDeadLetter(reason: string): void;
  onStuck(error: unknown, orderId: string, attempts: number): void;
  onTrouble(error: unknown, what: string): void;
};

type Failed = Readable & { error: unknown };

/** Resolves when the message is acknowledged or given back. Never rejects: that would end the process, again and again. */
export async function receive(message: JsMsg, options: DeliveryOptions): Promise<void> {
  try {
    await settle(message, options);
  } catch (error) {
    options.onTrouble(error, 'a message could not be settled; it comes again');
    message.nak(retryMsMax);
  }
}

async function settle(message: JsMsg, options: DeliveryOptions): Promise<void> {
  const attempt = message.info.deliveryCount;
  const envelope = envelopeOf(message);
  const whole = message.string();
  const { readable, unreadable } = readMessage(message.subject, whole, options.reactions);
  const lost = unreadable.map((one) => unreadableFailure(envelope, one, whole));
  // Nothing is known of a first delivery: it is submitted in this very turn. Unless the message is old, and the
  // consumer may have been made again.
  const isFirst = attempt === 1 && Date.now() - message.time.getTime() < ackWaitMs;
  const recalled = isFirst ? nothingKnown : await recall(envelope, readable, lost, options);
  const known = recalled ?? nothingKnown;
  const knownOf = (one: Readable) => known.get(fingerprintOf(envelope, one));
  // Set aside before, and here again because another event of its message is still retried: it has been dealt with.
  const left = known.size === 0 ? readable : readable.filter((one) => !isSetAside(knownOf(one)));
  const { outlived } = options.failures;
  const isOutlived = (one: Readable) => outlived.has(fingerprintOf(envelope, one));
  const { live, noteFirst, deadly } = withLastTry(left, knownOf, attempt, isOutlived);
  const tried = noteFirst.map((one) => beforeLastTry(envelope, one, attempt));
  if (tried.length > 0) await options.failures.noteBefore(tried);

  const aside = [
    ...lost.filter(({ fingerprint }) => !isSetAside(known.get(fingerprint))),
    ...deadly.map((one) => ({ ...beforeLastTry(envelope, one, attempt), final: true })),
  ];
  const isKnown = (one: Readable) => knownOf(one) !== undefined || noteFirst.includes(one);
  const isNew = known.size === 0 && noteFirst.length === 0;
  const recovering = recalled === null ? live : isNew ? [] : live.filter(isKnown);
  const failed: Failed[] = [];
  let isAckLost = false;
  const isClean = () => failed.length === 0 && aside.length === 0 && recovering.length === 0;
  await handle(live, attempt, options, {
    failed: (one) => failed.push(one),
    unacknowledged: () => {
      isAckLost = true;
    },
    // At once, so that the ack leaves in the same write as the messages that its events caused.
    ended: () => isClean() && !isAckLost && message.ack(),
  });
  if (isClean()) return;

  const counted = failed.filter(({ error }) => !isNobodysFault(error));
  // A last try that nobody is to blame for was none.
  const isOver = (one: Readable) =>
    !failed.some(
      (each) => each.event === one.event && !(noteFirst.includes(one) && isNobodysFault(each.error)),
    );
  const succeeded = recovering.filter(isOver);
  try {
    const noted = await note(envelope, aside, counted, succeeded, options);
    for (const one of noteFirst) outlived.delete(fingerprintOf(envelope, one));
    // Left to the broker: it comes again after the ack wait.
    if (isAckLost) return;
    const retried = [...noted.values()].filter(({ state }) => state === 'retrying');
    const attempts = Math.max(1, ...retried.map((one) => one.attempts));
    if (retried.length > 0 || counted.length < failed.length) message.nak(pauseMs(attempts));
    else message.ack();
  } catch (error) {
    for (const one of noteFirst) outlived.add(fingerprintOf(envelope, one));
    options.onTrouble(error, 'a failure could not be noted; its message comes again');
    message.nak(retryMsMin);
  }
}

type Heard = {
  failed(one: Failed): void;
  /** An injected fault loses the acknowledgement. */
  unacknowledged(): void;
  /** In the turn of the last one. */
  ended(): void;
};

/** Resolves when all of them have ended. */
function handle(
  live: readonly Readable[],
  attempt: number,
  { submit }: DeliveryOptions,
  heard: Heard,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let open = live.length;
  const endWhenDone = () => {
    if (open > 0) return;
    heard.ended();
    resolve();
  };
  const endOne = () => {
    open -= 1;
    endWhenDone();
  };
  const takenAtMs = performance.now();
  const items = live.map(({ event, reaction }) => ({
    intent: { reaction, cause: causeOf(event), attempt, takenAtMs },
    patient: true,
    finished: endOne,
    unacknowledged() {
      heard.unacknowledged();
      endOne();
    },
    failed(error: unknown) {
      heard.failed({ event, reaction, error });
      endOne();
    },
  }));
  if (items.length > 0) submit(items);
  // A batch may hold nothing that is for us, or nothing at all.
  else endWhenDone();
  return promise;
}

async function note(
  envelope: Envelope,
  aside: readonly Failure[],
  counted: readonly Failed[],
  succeeded: readonly Readable[],
  options: DeliveryOptions,
): Promise<Map<string, Known>> {
  const { failures, onDeadLetter, onStuck } = options;
  const failing = counted.map((one) => ({ one, failure: failureOf(envelope, one, one.error) }));
  const all = [...aside, ...failing.map(({ failure }) => failure)];
  const noted = all.length > 0 ? await failures.note(all) : nothingKnown;
  if (succeeded.length > 0) await failures.forget(succeeded.map((one) => fingerprintOf(envelope, one)));
  for (const { fingerprint, reason } of all) {
    if (noted.get(fingerprint)?.state === 'open') onDeadLetter(reason);
  }
  for (const { one, failure } of failing) {
    const { state, attempts } = noted.get(failure.fingerprint) ?? { state: 'open', attempts: 0 };
    if (state === 'retrying' && attempts >= attemptsMax) onStuck(one.error, one.event.subject, attempts);
  }
  return noted;
}

const nothingKnown: Map<string, Known> = new Map();

/** Null: the database cannot be asked. At worst something is tried once more than it need be. */
async function recall(
  envelope: Envelope,
  readable: readonly Readable[],
  lost: readonly Failure[],
  { failures, onTrouble }: DeliveryOptions,
): Promise<Map<string, Known> | null> {
  const fingerprints = readable.map((one) => fingerprintOf(envelope, one));
  try {
    return await failures.recall([...fingerprints, ...lost.map(({ fingerprint }) => fingerprint)]);
  } catch (error) {
    onTrouble(error, 'what failed before cannot be read');
    return null;
  }
}

const isSetAside = (known: Known | undefined): boolean => known !== undefined && known.state !== 'retrying';

/** Told when the service stopped while it waited: for the database, or for a row that is held. */
const isNobodysFault = (error: unknown): boolean => isOutage(error) || isLockTimeout(error);

const pauseMs = (attempts: number): number => Math.min(retryMsMin * 2 ** (attempts - 1), retryMsMax);

/** Read when it is asked for, because almost no message ever fails. */
function envelopeOf({ subject, headers }: JsMsg): Envelope {
  return {
    subject,
    get messageId() {
      // What the broker had forgotten has a second part in its id (relay.ts), and is the same message.
      return headers?.get('Nats-Msg-Id').split('/')[0] ?? '';
    },
    get headers() {
      return Object.fromEntries([...(headers ?? [])].map(([name, values]) => [name, values.join(', ')]));
    },
  };
}
