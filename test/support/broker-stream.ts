/** The stream of events as admin reads it. */
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { deadLetterStream, eventStream, faultStream } from '#libs/nats/streams.ts';
import { someEvent } from './events.ts';
import { eventually } from './eventually.ts';

/** After the last of what was asked. */
const answeredWithinMs = 300;

type Stored = { seq: number; subject: string; body: string };

export type Stream = Awaited<ReturnType<typeof openStream>>;

export async function openStream(connection: NatsConnection) {
  const manager = await jetstreamManager(connection, { checkAPI: false });
  return {
    async state() {
      const { state } = await manager.streams.info(eventStream);
      const { messages, first_seq: firstSequence, last_seq: lastSequence } = state;
      return { messages, firstSequence, lastSequence };
    },
    purge: () => manager.streams.purge(eventStream),
    consumer: (name: string) => manager.consumers.info(eventStream, name),
    /** Configurations of all streams and consumers. */
    async everything() {
      const names = [eventStream, deadLetterStream, faultStream];
      const infos = await Promise.all(names.map((name) => manager.streams.info(name)));
      const consumers = (await manager.consumers.list(eventStream).next()).map(({ config, name }) => [
        name,
        config,
      ]);
      return { streams: infos.map(({ config }) => config), consumers: Object.fromEntries(consumers) };
    },
    async messagesFrom(sequence: number): Promise<Stored[]> {
      const consumer = await jetstream(connection).consumers.get(eventStream, {
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: sequence,
      });
      const found: Stored[] = [];
      for await (const message of await consumer.consume()) {
        found.push({ seq: message.seq, subject: message.subject, body: message.string() });
        if (message.info.pending === 0) break;
      }
      return found;
    },
  };
}

/** Has the broker send its answers to the subject of another's event; tells how many the stream took in. */
export async function forgeByAnswers(order: NatsConnection, stream: Stream): Promise<number> {
  const from = (await stream.state()).lastSequence + 1;
  const own = { ...someEvent('order.confirmed'), type: 'inventory.reserved' };
  for (const [subject, body] of [
    ['$JS.API.CONSUMER.MSG.NEXT.EVENTS.order', JSON.stringify({ batch: 10, expires: 1_000_000_000 })],
    ['order.confirmed', JSON.stringify([own])],
    ['$KV.faults.hits.x', JSON.stringify([own])],
    ['$JS.API.STREAM.MSG.GET.KV_faults', JSON.stringify({ seq: 1 })],
  ] as const) {
    order.publish(subject, body, { reply: 'inventory.reserved' });
    await order.flush();
  }
  await eventually('its own event is stored', async () => (await stream.state()).lastSequence >= from);
  await new Promise((resolve) => setTimeout(resolve, answeredWithinMs));
  const stored = await stream.messagesFrom(from);
  return stored.filter(({ subject }) => subject === 'inventory.reserved').length;
}
