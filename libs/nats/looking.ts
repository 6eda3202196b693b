/**
 * What a service may see of the stream of events: where it begins and ends, where its own messages end, and its
 * own consumer. Nobody else's messages are read.
 */
import { JetStreamApiError, type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import { eventStream } from './streams.ts';

const withinMs = 2_000;

export type StreamEnds = {
  first: number;
  last: number;
  /** Sequences in between that hold nothing. */
  holes: readonly number[];
};

export type Looking = {
  ends(): Promise<StreamEnds>;
  /**
   * The last sequence on each subject, of those that this user may publish on. 0: the stream has nothing there;
   * beyond every other: it has something, and does not say where.
   */
  lastOn(subjects: readonly string[]): Promise<number[]>;
  /** What is wrong with the consumer, for a person; null when nothing is. */
  consumer(durable: string): Promise<string | null>;
};

export function lookingAt(connection: NatsConnection): Looking {
  // Without its check, which asks for more than a service may.
  const manager = jetstreamManager(connection, { checkAPI: false, timeout: withinMs });
  let holes: readonly number[] = [];
  let holesOf = '';

  return {
    async ends() {
      const { streams } = await manager;
      let { state } = await streams.info(eventStream);
      const count = state.num_deleted ?? 0;
      // The list may be long: it is asked for when it has changed.
      if (count > 0 && holesOf !== `${count} from ${state.first_seq}`) {
        ({ state } = await streams.info(eventStream, { deleted_details: true }));
        holes = state.deleted ?? [];
        holesOf = `${count} from ${state.first_seq}`;
      }
      return { first: state.first_seq, last: state.last_seq, holes: count === 0 ? [] : holes };
    },

    lastOn: (subjects) =>
      Promise.all(
        subjects.map(async (subject) => {
          const last = await lastOn(connection, subject);
          // When the last message of a subject was deleted, brokers up to 2.12 at least lose sight of those before it.
          return last === 0 && (await holds(await manager, subject)) ? neverReached : last;
        }),
      ),

    consumer: async (durable) => consumerFault(await manager, durable),
  };
}

/** No stream can have reached it, so a message that expects it is never stored. */
const neverReached = Number.MAX_SAFE_INTEGER;
const wrongLastSequence = 10071;

/**
 * Asks for the impossible, and reads the answer in the refusal: "wrong last sequence: 42". The right to publish is
 * enough for that, while reading a message would take one that can be turned against others (infra/nats/users.ts).
 */
async function lastOn(connection: NatsConnection, subject: string): Promise<number> {
  const header = headers();
  header.set('Nats-Expected-Last-Subject-Sequence', String(neverReached));
  const answer = await connection.request(subject, '', { headers: header, timeout: withinMs });
  const { error } = answer.json<{ error?: { err_code: number; description: string } }>();
  const [, sequence] = /: (\d+)$/.exec(error?.description ?? '') ?? [];
  if (error?.err_code !== wrongLastSequence || sequence === undefined) {
    throw new Error(`where ${subject} ends cannot be seen: ${error?.description ?? 'no refusal'}`);
  }
  return Number(sequence);
}

async function holds(manager: JetStreamManager, subject: string): Promise<boolean> {
  const { state } = await manager.streams.info(eventStream, { subjects_filter: subject });
  return (state.subjects?.[subject] ?? 0) > 0;
}

const consumerNotFound = 10014;
export const consumerMissing = 'is missing';

/**
 * What is wrong with a durable consumer, for a person; null when nothing is. One that is ahead of its stream skips,
 * on NATS 2.10 without a word, whatever is stored next. It is asked before the stream: what is delivered between the
 * two looks is in the stream by the second.
 */
export async function consumerFault(manager: JetStreamManager, durable: string): Promise<string | null> {
  try {
    const { delivered, ack_floor } = await manager.consumers.info(eventStream, durable);
    const { state } = await manager.streams.info(eventStream);
    const at = Math.max(delivered.stream_seq, ack_floor.stream_seq);
    return at > state.last_seq ? `stands at ${at}, beyond the end of the stream at ${state.last_seq}` : null;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === consumerNotFound) return consumerMissing;
    throw error;
  }
}
