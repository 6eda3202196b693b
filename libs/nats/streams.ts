/** The streams, as data. Every service makes sure of them at its start; equal definitions are a no-op. */
import { type JetStreamManager, jetstreamManager, type StreamConfig } from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';

export const eventStream = 'EVENTS';
export const deadLetterStream = 'DEAD_LETTERS';

const hour = 60 * 60 * 1000;
/** Shorter than the outboxes' retention: whatever the stream holds, an outbox can still vouch for. */
export const eventAgeMsMax = 24 * hour;

export const streams = [
  {
    name: eventStream,
    subjects: ['order.>', 'payment.>', 'inventory.>', 'logistics.>'],
    storage: 'file',
    max_age: nanos(eventAgeMsMax),
    // An optimisation, not the guarantee: the journal recognises repeats for ever.
    duplicate_window: nanos(120_000),
  },
  { name: deadLetterStream, subjects: ['dead-letter.>'], storage: 'file', max_age: nanos(30 * 24 * hour) },
] as const satisfies (Partial<StreamConfig> & { name: string })[];

const streamExistsWithOtherConfig = 10058;

export async function ensureStreams(connection: NatsConnection): Promise<JetStreamManager> {
  const manager = await jetstreamManager(connection);
  for (const definition of streams) {
    const config = { ...definition, subjects: [...definition.subjects] };
    try {
      await manager.streams.add(config);
    } catch (error) {
      if ((error as { code?: number }).code !== streamExistsWithOtherConfig) throw error;
      await manager.streams.update(definition.name, config);
    }
  }
  return manager;
}
