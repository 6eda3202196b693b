/**
 * The stream of events as it is stored, without a consumer, which nobody but the provisioner may make
 * (infra/nats/users.ts).
 */
import { jetstreamManager, type StoredMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { readStream, type Take } from './read-stream.ts';
import { eventStream } from './streams.ts';

export type Bounds = {
  /** Sequences: of an empty stream the last is the lower one. */
  first: number;
  last: number;
};

export type StoredMessages = {
  bounds(): Promise<Bounds>;
  /** The first message at this sequence or after it; null where the stream ends before. */
  from(sequence: number): Promise<StoredMsg | null>;
  /** All of them, in no particular order. What is deleted is left out. */
  read(bounds: Bounds, take: Take): Promise<void>;
};

export function storedMessages(connection: NatsConnection): StoredMessages {
  // Without its check, which asks for more than may be.
  const streams = async () => (await jetstreamManager(connection, { checkAPI: false })).streams;
  return {
    async bounds() {
      const { state } = await (await streams()).info(eventStream);
      return { first: Math.max(1, state.first_seq), last: state.last_seq };
    },
    async from(sequence) {
      // The broker takes both together; the client's type does not say so.
      const query: { seq: number; next_by_subj: string } = { seq: sequence, next_by_subj: '>' };
      return (await streams()).getMessage(eventStream, query);
    },
    read: (bounds, take) => readStream(connection, bounds, take),
  };
}
