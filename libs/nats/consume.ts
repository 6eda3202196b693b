/**
 * A durable pull consumer that hands every message to one function and starts again whatever happens to the
 * broker. Two bounds: how much is worked on (`isFull`), and how much is open in all (`max_ack_pending`). What has come
 * and finds no room is held, alive for the broker, and nothing more is asked for: left in the client's buffer it would
 * come again after the ack wait, and again. The consumer itself is provisioned (infra/nats/provision.ts): a service
 * may only read it.
 */
import { type Consumer, type ConsumerMessages, type JsMsg, jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { missing, provisioned } from './provisioned.ts';
import { ackWaitMs, eventStream } from './streams.ts';

/** Fetched ahead of the work, and held when there is no room for it. */
export const messagesAheadMax = 512;
/** After two that do not come the consumer asks again, perhaps another node: its leader may have gone. */
const heartbeatMs = 1_000;
/** Below it the client asks for no more either: so many requests may stand at the broker, and not one for each message. */
const requestMessagesMin = messagesAheadMax / 4;
/**
 * How long a request for messages stands, at least twice the heartbeat. Short, because requests of a connection that
 * was lost with the broker still up go on taking messages until then: it cannot see through the border of accounts
 * that nobody hears them. What they took comes again after the ack wait.
 */
export const requestMs = 2_500;
const fullPauseMs = 5;
const restartPauseMs = 500;
/** Of a broker that is away at the very moment of a stop. */
const drainMsMax = 1_000;

export type Consuming = { stop(): Promise<void> };

export type ConsumeOptions = {
  connection: NatsConnection;
  /** One durable per service: its replicas compete for the messages. */
  durable: string;
  /** Resolves when the message is acknowledged or given back. Must not reject. */
  onMessage(message: JsMsg): Promise<void>;
  /** Whether more is waiting for its turn than is good: then nothing more is taken in for a moment. */
  isFull(): boolean;
  /** The broker says that the consumer is gone: it goes on by itself when there is one of that name again. */
  onDeleted?(): void;
  onTrouble(error: unknown): void;
};

export async function consume(options: ConsumeOptions): Promise<Consuming> {
  const { connection, durable, onMessage, onTrouble } = options;
  const what = `the consumer ${durable} of the stream ${eventStream}`;
  const find = () => jetstream(connection).consumers.get(eventStream, durable);
  // Bounded at the start; later the wait has no end, as for the broker itself.
  let consumer: Consumer | undefined = await provisioned(what, find, onTrouble);
  let stopping = false;
  const { promise: stopped, resolve: endPause } = Promise.withResolvers<void>();
  let messages: ConsumerMessages | undefined;
  /** In hand, but there is no room for them yet. */
  const held: JsMsg[] = [];
  let handingOver: Promise<void> = Promise.resolve();

  const inHand = new Set<JsMsg>();
  const heartbeat = setInterval(() => {
    // Tells the broker that a message in hand is alive, however long its batch takes.
    for (const message of inHand) message.working();
  }, ackWaitMs / 3);

  const hand = (message: JsMsg) => void onMessage(message).then(() => inHand.delete(message));
  const handOverHeld = async () => {
    if (messages) setAsking(messages, false);
    for (let next = held[0]; next; next = held[0]) {
      while (options.isFull() && !stopping) await pause(fullPauseMs);
      held.shift();
      hand(next);
    }
    if (messages && !stopping) setAsking(messages, true);
  };

  const readFrom = async (found: Consumer) => {
    messages = await found.consume({
      max_messages: messagesAheadMax,
      idle_heartbeat: heartbeatMs,
      expires: requestMs,
      // Asks again without looking at the consumer first: while a cluster elects its leader that look is not
      // answered, and the client would wait for half a minute before the next one. It goes on by itself as well
      // when the consumer was deleted and made again (test/broker).
      bind: true,
    });
    void tellDeletion(messages, options.onDeleted);
    if (held.length > 0) setAsking(messages, false);
    // `stop` found nothing to close when it came before this.
    if (stopping) await messages.close();
    for await (const message of messages) {
      inHand.add(message);
      if (held.length === 0 && !options.isFull()) hand(message);
      else if (held.push(message) === 1) handingOver = handOverHeld();
    }
  };

  const loop = async () => {
    while (!stopping) {
      try {
        consumer ??= await find();
        await readFrom(consumer);
      } catch (error) {
        onTrouble(missing(what, error));
      }
      consumer = undefined;
      await Promise.race([pause(restartPauseMs), stopped]);
    }
  };
  const running = loop();

  return {
    async stop() {
      stopping = true;
      endPause();
      if (messages) await drain(messages);
      await running;
      await handingOver;
      clearInterval(heartbeat);
    },
  };
}

async function tellDeletion(messages: ConsumerMessages, onDeleted: (() => void) | undefined): Promise<void> {
  for await (const { type } of messages.status()) if (type === 'consumer_deleted') onDeleted?.();
}

/**
 * Whether the client asks for more as messages come. It would at once for every one that it has handed over, and knows
 * no pause; what its type does not show is how it asks.
 */
function setAsking(messages: ConsumerMessages, isAsking: boolean): void {
  type Request = { batch: number };
  const asking = messages as unknown as { pull(request: Request): void; pullOptions(): Request };
  if (!isAsking) asking.pull = () => {};
  else {
    Reflect.deleteProperty(asking, 'pull');
    const request = asking.pullOptions();
    if (request.batch >= requestMessagesMin) asking.pull(request);
  }
}

/**
 * Takes in what the broker has sent already and asks for no more. `close` of the client leaves that unread, and it
 * comes again after the ack wait only: seconds in which its orders stand still. The client drains a subscription,
 * but does not show the one of a consumer.
 */
async function drain(messages: ConsumerMessages): Promise<void> {
  setAsking(messages, false);
  const { sub } = messages as unknown as { sub?: { isClosed(): boolean; drain(): Promise<void> } };
  if (sub && !sub.isClosed()) await Promise.race([sub.drain(), pause(drainMsMax)]);
  await messages.close();
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
