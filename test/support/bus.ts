/** The bus as a stranger sees it: what journeys publish that no service would, and take away again. */
import { DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, headers } from '@nats-io/transport-node';
import { readNatsUrl } from '#libs/nats/address.ts';
import { eventStream } from '#libs/nats/streams.ts';
import { system } from './api.ts';

export type StoredMessage = { seq: number; subject: string; body: string; messageId: string };

export type Bus = Awaited<ReturnType<typeof openBus>>;

export async function openBus() {
  const connection = await connect({ ...readNatsUrl(system.nats.url), name: 'a test' });
  const client = jetstream(connection);
  const manager = await jetstreamManager(connection);
  const foreign: number[] = [];

  return {
    connection,
    manager,
    /** Publishes what no outbox holds; `clean` takes it away again, or the checker would rightly complain. */
    async publish(subject: string, body: string, messageId: string): Promise<number> {
      const header = headers();
      const { seq } = await client.publish(subject, body, { msgID: messageId, headers: header });
      foreign.push(seq);
      return seq;
    },
    lastSequence: async () => (await manager.streams.info(eventStream)).state.last_seq,
    /** Messages from this sequence on, in the order of the stream. */
    async messagesFrom(sequence: number): Promise<StoredMessage[]> {
      const { state } = await manager.streams.info(eventStream);
      if (state.messages === 0 || sequence > state.last_seq) return [];
      const consumer = await client.consumers.get(eventStream, {
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: sequence,
      });
      const found: StoredMessage[] = [];
      for await (const message of await consumer.consume()) {
        found.push(stored(message));
        if (message.info.pending === 0) break;
      }
      return found;
    },
    async clean(): Promise<void> {
      for (const seq of foreign.splice(0)) await manager.streams.deleteMessage(eventStream, seq);
    },
    close: () => connection.close(),
  };
}

const stored = (message: JsMsg): StoredMessage => ({
  seq: message.seq,
  subject: message.subject,
  body: message.string(),
  messageId: message.headers?.get('Nats-Msg-Id') ?? '',
});
