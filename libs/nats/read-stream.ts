/**
 * Reads the whole stream of events without a consumer, which nobody but the provisioner may make (infra/nats/users.ts).
 * A broker from 2.11 on answers a direct get with as many messages as are asked for
 * (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md); an older one with the first of
 * them, and is asked for each. Any replica may answer a direct get, and may lag behind: what it does not have at its
 * end the stream's leader is asked for, in JSON.
 */
import { createInbox, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { inboxPrefix } from './address.ts';
import { copyHeader } from './publish.ts';
import { eventStream } from './streams.ts';

/** Asked for at once, when they are asked for one by one: bodies of half a megabyte stay below the broker's bound. */
const asksOpenMax = 64;
const batchMessagesMax = 2_000;
/** Far below what the broker may have on its way to one client (64 MB). */
const batchBytesMax = 8 * 1024 * 1024;
const silenceMsMax = 5_000;

export type StreamMessage = {
  sequence: number;
  /** `Nats-Msg-Id`, and of a copy its original's; empty where it has none. */
  id: string;
  body: Buffer;
};
export type Take = (message: StreamMessage) => void;
/** Sequences, both included. */
type Range = { first: number; last: number };

/** What is deleted is left out. Messages come in no particular order. A `take` that throws ends the reading. */
export async function readStream(
  connection: NatsConnection,
  { first, last }: Range,
  take: Take,
): Promise<void> {
  if (first > last) return;
  const answers = openAnswers(connection);
  try {
    const { next, isOneByOne } = await readBatches(answers, { first, last }, take);
    const left = Array.from({ length: Math.max(0, last - next + 1) }, (_, index) => next + index);
    const lacking = isOneByOne ? await readEach(answers, direct, left, take) : left;
    await readEach(answers, ofLeader, lacking, take);
  } finally {
    answers.close();
  }
}

type Progress = { next: number; isOneByOne: boolean };

/** Until the end, or as far as this way goes. */
async function readBatches(answers: Answers, { first, last }: Range, take: Take): Promise<Progress> {
  const progress: Progress = { next: first, isOneByOne: false };
  while (progress.next <= last) {
    const asked = progress.next;
    const batch = { seq: asked, batch: batchMessagesMax, max_bytes: batchBytesMax };
    answers.ask(direct.subject, '', JSON.stringify(batch));
    const isWhole = await answers.until((message) => {
      const status = message.headers?.code ?? 0;
      // No more of them: the end of the batch, nothing at all, or nobody who answers direct gets.
      if (status !== 0) return status === endOfBatch;
      const found = readDirect(message);
      if (found.sequence <= last) take(found);
      progress.next = found.sequence + 1;
      progress.isOneByOne = !message.headers?.has('Nats-Num-Pending');
      return progress.isOneByOne ? false : undefined;
    });
    if (!isWhole || progress.next === asked) break;
  }
  return progress;
}

const endOfBatch = 204;

/** One message by its sequence: where it is asked for, and what its answer says; null when it is not there. */
type Way = { subject: string; read(message: Msg): StreamMessage | null };

const direct: Way = {
  subject: `$JS.API.DIRECT.GET.${eventStream}`,
  read: (message) => ((message.headers?.code ?? 0) === 0 ? readDirect(message) : null),
};
const ofLeader: Way = { subject: `$JS.API.STREAM.MSG.GET.${eventStream}`, read: readFromLeader };

/** Gives those that are not there. */
async function readEach(
  answers: Answers,
  way: Way,
  sequences: readonly number[],
  take: Take,
): Promise<number[]> {
  const lacking: number[] = [];
  let next = 0;
  let open = 0;
  const ask = () => {
    for (; open < asksOpenMax && next < sequences.length; next++, open++) {
      answers.ask(way.subject, `${sequences[next]}`, `{"seq":${sequences[next]}}`);
    }
  };
  ask();
  if (open > 0) {
    await answers.until((message, token) => {
      const found = way.read(message);
      if (found) take(found);
      else lacking.push(Number(token));
      open -= 1;
      // Many in one write.
      if (open <= asksOpenMax / 2) ask();
      return open === 0 ? true : undefined;
    });
  }
  return lacking;
}

function readDirect({ headers, data }: Msg): StreamMessage {
  const id = headers?.get(copyHeader) || headers?.get('Nats-Msg-Id') || '';
  // The broker's own stands last, after one that a publisher may have set.
  const sequence = Number(headers?.values('Nats-Sequence').at(-1));
  return { sequence, id, body: Buffer.from(data.buffer, data.byteOffset, data.byteLength) };
}

type LeaderAnswer = {
  message?: { seq: number; hdrs?: string; data?: string };
  error?: { err_code: number; description: string };
};
const noMessageFound = 10037;

function readFromLeader(answer: Msg): StreamMessage | null {
  const { message, error } = answer.json<LeaderAnswer>();
  if (error && error.err_code !== noMessageFound) throw new Error(error.description);
  if (!message) return null;
  const { seq, hdrs = '', data = '' } = message;
  return { sequence: seq, id: idIn(hdrs), body: Buffer.from(data, 'base64') };
}

const copied = new RegExp(`^${copyHeader}: *(.*?)\\r?$`, 'm');

function idIn(headers: string): string {
  const text = Buffer.from(headers, 'base64').toString();
  return (copied.exec(text) ?? /^Nats-Msg-Id: *(.*?)\r?$/m.exec(text))?.[1] ?? '';
}

/** One inbox for all that is asked: the client's own request per message takes three times as long. */
type Answers = {
  ask(subject: string, token: string, body: string): void;
  /** Hears answers, with the token of what they answer, until `hear` gives something; rejects after a silence. */
  until(hear: (message: Msg, token: string) => boolean | undefined): Promise<boolean>;
  close(): void;
};

function openAnswers(connection: NatsConnection): Answers {
  const inbox = createInbox(inboxPrefix(connection));
  let hearing: ((error: Error | null, message: Msg) => void) | undefined;
  const subscription = connection.subscribe(`${inbox}.*`, {
    callback: (error, message) => hearing?.(error, message),
  });
  return {
    ask: (subject, token, body) =>
      connection.publish(subject, body, { reply: `${inbox}.${token || 'batch'}` }),
    until: (hear) => {
      const { promise, resolve, reject } = Promise.withResolvers<boolean>();
      const late = () =>
        reject(new Error(`the stream ${eventStream} did not answer within ${silenceMsMax} ms`));
      const silence = setTimeout(late, silenceMsMax);
      hearing = (error, message) => {
        silence.refresh();
        try {
          if (error) throw error;
          const heard = hear(message, message.subject.slice(inbox.length + 1));
          if (heard !== undefined) resolve(heard);
        } catch (cause) {
          reject(cause as Error);
        }
      };
      return promise.finally(() => {
        clearTimeout(silence);
        hearing = undefined;
      });
    },
    close: () => subscription.unsubscribe(),
  };
}
