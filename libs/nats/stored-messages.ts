/**
 * Reads the stream of events without a consumer, which nobody but the provisioner may make (infra/nats/users.ts):
 * message by message, from the stream's leader.
 */
import { jetstreamManager, type StoredMsg } from '@nats-io/jetstream';
import { createInbox, type NatsConnection } from '@nats-io/transport-node';
import { inboxPrefix } from './address.ts';
import { copyHeader } from './publish.ts';
import { eventStream } from './streams.ts';

/** Asked for at once, when many are read. */
const asksOpenMax = 256;
const silenceMsMax = 5_000;

export type Bounds = {
  /** Sequences: of an empty stream the last is the lower one. */
  first: number;
  last: number;
};

export type StoredMessages = {
  bounds(): Promise<Bounds>;
  /** The first message at this sequence or after it; null where the stream ends before. */
  from(sequence: number): Promise<StoredMsg | null>;
  /** `Nats-Msg-Id` of each, by sequence, and of a copy its original's; empty where it has none. What is deleted is left out. */
  ids(bounds: Bounds): Promise<Map<number, string>>;
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
    ids: (bounds) => readIds(connection, bounds),
  };
}

/** As the broker answers. */
type Answer = { message?: { seq: number; hdrs?: string }; error?: { err_code: number; description: string } };
const noMessageFound = 10037;

/** On one inbox for all: the client's own request per message takes three times as long. */
function readIds(connection: NatsConnection, { first, last }: Bounds): Promise<Map<number, string>> {
  const { promise, resolve, reject } = Promise.withResolvers<Map<number, string>>();
  const ids = new Map<number, string>();
  const inbox = createInbox(inboxPrefix(connection));
  let next = first;
  let open = 0;
  const ask = () => {
    for (; open < asksOpenMax && next <= last; next++, open++) {
      connection.publish(`$JS.API.STREAM.MSG.GET.${eventStream}`, `{"seq":${next}}`, { reply: inbox });
    }
    if (open === 0) resolve(ids);
  };
  const take = ({ message, error }: Answer) => {
    if (error && error.err_code !== noMessageFound) throw new Error(error.description);
    if (message) ids.set(message.seq, idIn(message.hdrs));
    open -= 1;
    ask();
  };
  const silence = setTimeout(
    () => reject(new Error(`the stream ${eventStream} did not answer within ${silenceMsMax} ms`)),
    silenceMsMax,
  );
  const subscription = connection.subscribe(inbox, {
    callback(error, message) {
      silence.refresh();
      try {
        if (error) throw error;
        take(message.json<Answer>());
      } catch (cause) {
        reject(cause as Error);
      }
    },
  });
  ask();
  return promise.finally(() => {
    clearTimeout(silence);
    subscription.unsubscribe();
  });
}

const copied = new RegExp(`^${copyHeader}: *(.*?)\\r?$`, 'm');

function idIn(headers = ''): string {
  const text = Buffer.from(headers, 'base64').toString();
  return (copied.exec(text) ?? /^Nats-Msg-Id: *(.*?)\r?$/m.exec(text))?.[1] ?? '';
}
