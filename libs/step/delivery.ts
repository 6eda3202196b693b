/**
 * One message from the bus as items for the driver, and its end: acknowledged when every event in it is
 * settled, given back with a growing pause when one failed, dead-lettered when it has failed too often or
 * cannot be read. An undo is never dead-lettered: it is retried for ever and reported as stuck.
 */
import { createHash } from 'node:crypto';
import type { JsMsg } from '@nats-io/jetstream';
import { parseEvent, type SagaEvent, type ServiceName } from '#libs/contracts/events.ts';
import type { Publish } from '#libs/nats/publish.ts';
import { isLockTimeout, isOutage } from '#libs/postgres/errors.ts';
import type { Cause, Reaction } from './reaction.ts';
import type { Item } from './saga-driver.ts';

export const attemptsMax = 8;
const retryMsMin = 100;
const retryMsMax = 10_000;

export type DeliveryOptions = {
  service: ServiceName;
  reactions: ReadonlyMap<string, Reaction>;
  publish: Publish;
  onDeadLetter(reason: string, events: number): void;
  onStuck(error: unknown, orderId: string, attempt: number): void;
  onTrouble(error: unknown, what: string): void;
};

type Dead = { event: unknown; reason: string };

/** The items of this message, and when it is settled: once the last of them is. */
export function receive(message: JsMsg, options: DeliveryOptions): { items: Item[]; settled: Promise<void> } {
  const attempt = message.info.deliveryCount;
  const { events, dead } = readBatch(message, options.reactions);
  const failures: { event: SagaEvent; reaction: Reaction; error: unknown }[] = [];
  const { promise: allSettled, resolve: settleAll } = Promise.withResolvers<void>();
  let open = events.length;
  let isAckLost = false;

  const isClean = () => failures.length === 0 && dead.length === 0;
  const settleOnceDone = () => {
    if (open > 0) return;
    // At once, so that the ack leaves in the same write as the messages that its events caused.
    if (isClean() && !isAckLost) message.ack();
    settleAll();
  };
  const settleOne = () => {
    open -= 1;
    settleOnceDone();
  };
  // A batch may hold nothing that is for us, or nothing at all.
  settleOnceDone();

  const settleMessage = async () => {
    // A lost acknowledgement leaves the whole message to the broker: it comes again after the ack wait.
    if (isClean() || isAckLost) return;
    const spent = attempt >= attemptsMax;
    for (const { event, reaction, error } of failures) {
      if (!spent || isNobodysFault(error)) continue;
      if (reaction.direction === 'undo') options.onStuck(error, event.subject, attempt);
      else dead.push({ event, reason: error instanceof Error ? error.message : String(error) });
    }
    const retry = failures.some(
      ({ reaction, error }) => !spent || reaction.direction === 'undo' || isNobodysFault(error),
    );
    try {
      if (dead.length > 0) await deadLetter(message, dead, options);
    } catch (error) {
      options.onTrouble(error, 'a dead letter could not be stored; the message stays');
      return message.nak(retryMsMin);
    }
    if (retry) message.nak(Math.min(retryMsMin * 2 ** (attempt - 1), retryMsMax));
    else message.ack();
  };

  const takenAtMs = performance.now();
  const items = events.map(({ event, reaction }) => ({
    intent: { reaction, cause: causeOf(event), attempt, takenAtMs },
    patient: true,
    finished: settleOne,
    unacknowledged() {
      isAckLost = true;
      settleOne();
    },
    failed(error: unknown) {
      failures.push({ event, reaction, error });
      settleOne();
    },
  }));
  return { items, settled: allSettled.then(settleMessage) };
}

/** Told when the service stopped while it waited: for the database, or for a row that is held. */
const isNobodysFault = (error: unknown): boolean => isOutage(error) || isLockTimeout(error);

function readBatch(message: JsMsg, reactions: ReadonlyMap<string, Reaction>) {
  const events: { event: SagaEvent; reaction: Reaction }[] = [];
  const dead: Dead[] = [];
  let batch: unknown;
  try {
    batch = message.json();
  } catch (error) {
    return { events, dead: [{ event: message.string(), reason: `not JSON: ${(error as Error).message}` }] };
  }
  if (!Array.isArray(batch)) return { events, dead: [{ event: batch, reason: 'not a CloudEvents batch' }] };
  for (const candidate of batch) {
    const parsed = parseEvent(candidate);
    const reaction = parsed.ok ? reactions.get(parsed.event.type) : undefined;
    if (!parsed.ok) dead.push({ event: candidate, reason: parsed.reason });
    else if (parsed.event.type !== message.subject) {
      dead.push({
        event: candidate,
        reason: `type: ${parsed.event.type} came on subject ${message.subject}`,
      });
    } else if (reaction) events.push({ event: parsed.event, reaction });
    else dead.push({ event: candidate, reason: `nothing here reacts to ${parsed.event.type}` });
  }
  return { events, dead };
}

function causeOf(event: SagaEvent): Cause {
  return {
    id: event.id,
    orderId: event.subject,
    customerId: event.customerid,
    dishIds: event.dishids,
    data: event.data,
    lamport: event.lamport,
    traceparent: event.traceparent,
    tracestate: event.tracestate,
    faults: event.faults,
  };
}

const reasonCharsMax = 500;
/** Below the broker's 1 MB, however many bytes a character takes. */
const deadLetterCharsMax = 300_000;

/** The same failure of the same message has the same id, so that a repeat is stored once. */
async function deadLetter(message: JsMsg, dead: readonly Dead[], options: DeliveryOptions): Promise<void> {
  const { service, publish, onDeadLetter } = options;
  const whole = JSON.stringify(dead.map(({ event }) => event));
  // What was just small enough as a message may not be as a text in another one.
  const body =
    whole.length > deadLetterCharsMax ? JSON.stringify([whole.slice(0, deadLetterCharsMax / 4)]) : whole;
  const reason = dead
    .map((one) => one.reason)
    .join('; ')
    .slice(0, reasonCharsMax);
  const messageId = createHash('sha256').update(`${service}\n${message.subject}\n${body}`).digest('hex');
  await publish(
    { messageId, subject: `dead-letter.${service}`, body },
    {
      'Saga-Reason': reason.replaceAll(/[^\x20-\x7e]/g, '?'),
      'Saga-Subject': message.subject,
      'Saga-Sequence': String(message.seq),
      'Saga-Attempts': String(message.info.deliveryCount),
      'Saga-Message-Id': message.headers?.get('Nats-Msg-Id') ?? '',
    },
  );
  onDeadLetter(reason, dead.length);
}
