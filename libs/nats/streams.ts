/**
 * What stands on the broker, as data. infra/nats/provision.ts makes it; a service may neither create nor
 * change any of it.
 */
import type { StreamConfig } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';

export const eventStream = 'EVENTS';
export const deadLetterStream = 'DEAD_LETTERS';
export const faultBucket = 'faults';
export const faultStream = `KV_${faultBucket}`;
/** Of the keys that count what an order carries, for one order and point each. The keeper takes them out. */
export const carriedHitsPrefix = 'carried_';
export const activeFaultsSubject = `$KV.${faultBucket}.active`;
/** Where the faults are said again once they are stored: a write that was refused is never heard. */
export const faultsSubject = 'faults.active';

/** Where an event is said again once it is stored, with its place in the stream: heard without a consumer. */
export const storedEventsPrefix = 'stored';

const hour = 60 * 60 * 1000;
/** Shorter than the outboxes' retention: whatever the stream holds, an outbox can still vouch for. */
export const eventAgeMsMax = 24 * hour;
/** Younger ones are surely there: clocks differ, and whoever compares takes a while for it. */
export const storedAgeMsMax = eventAgeMsMax - 10 * 60_000;
/** As long as the services keep the letters themselves. */
export const deadLetterAgeMsMax = 30 * 24 * hour;

export const streams = [
  {
    name: eventStream,
    subjects: ['order.>', 'payment.>', 'inventory.>', 'logistics.>'],
    storage: 'file',
    max_age: nanos(eventAgeMsMax),
    // An optimisation, not the guarantee: the journal recognises repeats for ever. Short, because a node that lost
    // the lead with a message in hand refuses its repeats for as long, should it lead again (publish.ts).
    duplicate_window: nanos(30_000),
    republish: { src: '>', dest: `${storedEventsPrefix}.>` },
    // For the checker, which reads it as a whole (read-stream.ts).
    allow_direct: true,
  },
  {
    name: deadLetterStream,
    subjects: ['dead-letter.>'],
    storage: 'file',
    max_age: nanos(deadLetterAgeMsMax),
  },
] as const satisfies (Partial<StreamConfig> & { name: string })[];

/**
 * A key-value bucket is a stream with these settings, but for two. With roll-ups whoever may write one key could
 * wipe all the others; read directly, what one wrote could be sent out under any subject (infra/nats/users.ts).
 */
export const faultStreamConfig = {
  name: faultStream,
  subjects: [`$KV.${faultBucket}.>`],
  storage: 'file',
  max_msgs_per_subject: 1,
  discard: 'new',
  allow_rollup_hdrs: false,
  allow_direct: false,
  republish: { src: activeFaultsSubject, dest: faultsSubject },
} as const satisfies Partial<StreamConfig> & { name: string };

/**
 * Of the durable consumer that every service has, under its own name: after so long what a killed process had in
 * hand comes again. Whoever is alive says so three times in it, however long its work takes (consume.ts).
 */
export const ackWaitMs = 10_000;
/**
 * Not acknowledged at once, at most; beyond it the broker stops delivering. Far above what is worked on, because
 * a message stays open for as long as one of its orders waits for a row that somebody else holds.
 */
export const messagesOpenMax = 4_000;
