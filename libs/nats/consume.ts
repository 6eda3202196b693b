/**
 * A durable pull consumer that hands every message to one function and starts again whatever happens to the
 * broker. Two bounds: how much is worked on (`isFull`), and how much is open in all (`max_ack_pending`).
 */
import {
  AckPolicy,
  type ConsumerMessages,
  type JetStreamManager,
  type JsMsg,
  jetstream,
} from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';
import { eventStream } from './streams.ts';

export const ackWaitMs = 30_000;
/**
 * Not acknowledged at once, at most; beyond it the broker stops delivering. Far above what is worked on, because
 * a message stays open for as long as one of its orders waits for a row that somebody else holds.
 */
const messagesOpenMax = 4_000;
/** Fetched ahead of the work. */
const messagesAheadMax = 512;
const fullPauseMs = 5;
const restartPauseMs = 500;

export type Consumer = { stop(): Promise<void> };

export type ConsumeOptions = {
  connection: NatsConnection;
  manager: JetStreamManager;
  /** One durable per service: its replicas compete for the messages. */
  durable: string;
  subjects: readonly string[];
  /** Resolves when the message is acknowledged or given back. Must not reject. */
  onMessage(message: JsMsg): Promise<void>;
  /** Whether more is waiting for its turn than is good: then nothing more is taken in for a moment. */
  isFull(): boolean;
  onTrouble(error: unknown): void;
};

export async function consume(options: ConsumeOptions): Promise<Consumer> {
  const { connection, durable, onMessage, onTrouble } = options;
  await ensureConsumer(options);
  let stopping = false;
  let messages: ConsumerMessages | undefined;

  const inHand = new Set<JsMsg>();
  const heartbeat = setInterval(() => {
    // Tells the broker that a message in hand is alive, however long its batch takes.
    for (const message of inHand) message.working();
  }, ackWaitMs / 3);

  const loop = async () => {
    while (!stopping) {
      try {
        const consumer = await jetstream(connection).consumers.get(eventStream, durable);
        messages = await consumer.consume({ max_messages: messagesAheadMax, idle_heartbeat: 5_000 });
        for await (const message of messages) {
          inHand.add(message);
          void onMessage(message).then(() => inHand.delete(message));
          while (options.isFull() && !stopping) await pause(fullPauseMs);
        }
      } catch (error) {
        if (!stopping) onTrouble(error);
      }
      if (stopping) return;
      await pause(restartPauseMs);
      await ensureConsumer(options).catch(onTrouble);
    }
  };
  const running = loop();

  return {
    async stop() {
      stopping = true;
      await messages?.close();
      await running;
      clearInterval(heartbeat);
    },
  };
}

/** Attempts are counted and bounded by the driver, not by the broker: a message must never be dropped here. */
async function ensureConsumer({ manager, durable, subjects }: ConsumeOptions): Promise<void> {
  await manager.consumers.add(eventStream, {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    filter_subjects: [...subjects],
    ack_wait: nanos(ackWaitMs),
    max_deliver: -1,
    max_ack_pending: messagesOpenMax,
  });
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
