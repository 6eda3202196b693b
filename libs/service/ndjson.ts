/**
 * Many commands in one request, their answers as lines of NDJSON in the order in which they come: one HTTP
 * exchange serves a whole turn of the event loop, and a command that waits holds up no other.
 */
import type { Pool } from 'undici';
import type { FastifyReply } from './http.ts';
import { notSentCode, type Repeat, type Replica, type Replicas } from './replicas.ts';

type Line = { index: number; answer: unknown };

/** Answers each command as soon as it is settled. `handle` must not reject. */
export function answerEach<Command>(
  reply: FastifyReply,
  commands: readonly Command[],
  handle: (command: Command) => Promise<unknown>,
): void {
  reply.hijack();
  reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
  // At once: they say that the commands have arrived.
  reply.raw.flushHeaders();
  let open = commands.length;
  let lines = '';
  const flush = () => {
    const text = lines;
    lines = '';
    if (open === 0) reply.raw.end(text);
    else reply.raw.write(text);
  };
  commands.forEach((command, index) => {
    void handle(command).then((answer) => {
      open -= 1;
      if (lines === '') setImmediate(flush);
      lines += `${JSON.stringify({ index, answer } satisfies Line)}\n`;
    });
  });
}

const commandsMax = 100;

type Call<Command, Answer> = {
  command: Command;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
};

/**
 * Gathers commands into requests: the first of an idle caller leaves with its turn of the event loop, the next
 * gather until the other side has taken that request in, which its headers say. So a busy receiver is sent
 * fewer and larger requests, and a command that waits over there holds up nothing here. Rejects when no answer
 * comes in time.
 */
export function createCaller<Command, Answer>(options: {
  pool: Pool;
  path: string;
  /** The key of the commands in the body. */
  key: string;
  answerMsMax: number;
}): (command: Command) => Promise<Answer> {
  const { pool, path, key, answerMsMax } = options;
  let gathered: Call<Command, Answer>[] = [];
  let departing = false;

  const depart = () => {
    const calls = gathered.slice(0, commandsMax);
    gathered = gathered.slice(commandsMax);
    departing = calls.length > 0;
    if (departing) void send(calls);
  };

  const giveUpGathered = (cause: Error) => {
    const waiting = gathered;
    gathered = [];
    const unsent = Object.assign(new Error(`${path} was not asked: it does not answer`, { cause }), {
      code: notSentCode,
    });
    for (const { reject } of waiting) reject(unsent);
  };

  const send = async (calls: Call<Command, Answer>[]) => {
    try {
      const { statusCode, body } = await pool
        .request({
          method: 'POST',
          path,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ [key]: calls.map(({ command }) => command) }),
          signal: AbortSignal.timeout(answerMsMax),
        })
        .catch((error) => {
          // It does not even take requests in: those that wait for it have not been sent, and may go elsewhere.
          if (error.name === 'TimeoutError') giveUpGathered(error);
          throw error;
        })
        .finally(depart);
      if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${await body.text()}`);
      let rest = '';
      body.setEncoding('utf8');
      for await (const chunk of body) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const { index, answer } = JSON.parse(line) as Line;
          calls[index]?.resolve(answer as Answer);
        }
      }
      throw new Error(`${path} left a command unanswered`);
    } catch (error) {
      // Settled ones are not touched by this.
      for (const { reject } of calls) reject(error);
    }
  };

  return (command) =>
    new Promise((resolve, reject) => {
      if (!departing) setImmediate(depart);
      departing = true;
      gathered.push({ command, resolve, reject });
    });
}

/** The same over the replicas of a service: a caller for each, and every command goes to the first of its candidates. */
export function createReplicaCaller<Command, Answer>(options: {
  replicas: Replicas;
  path: string;
  key: string;
  /** For each try. */
  answerMsMax: number;
  candidatesFor(command: Command): readonly Replica[];
  repeat: Repeat;
  /** An answer that is none: the next candidate is asked, and the last one's stands. */
  isFailure?(answer: Answer): boolean;
}): (command: Command) => Promise<Answer> {
  const { replicas, candidatesFor, repeat, isFailure, ...shared } = options;
  const callers = new WeakMap<Replica, (command: Command) => Promise<Answer>>();
  const callerOf = (replica: Replica) => {
    const found = callers.get(replica) ?? createCaller<Command, Answer>({ ...shared, pool: replica.pool });
    callers.set(replica, found);
    return found;
  };
  return (command) =>
    replicas.inTurn(candidatesFor(command), repeat, async (replica, hasNext) => {
      const answer = await callerOf(replica)(command);
      if (hasNext && isFailure?.(answer)) throw new Error(`${replica.origin} could not do it`);
      return answer;
    });
}
