/** What could not be handled, with the reason: read from the dead-letter stream, without consuming it. */
import { jetstreamManager, type StoredMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { deadLettersQuery } from '#libs/contracts/answers.ts';
import { deadLetterStream } from '#libs/nats/streams.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';

export function deadLetterRoutes(app: FastifyInstance, connection: NatsConnection): void {
  app.get('/api/dead-letters', async (request) => {
    const { cursor, limit } = parse(deadLettersQuery, request.query);
    const manager = await jetstreamManager(connection, { checkAPI: false });
    const { state } = await manager.streams.info(deadLetterStream);
    const items: ReturnType<typeof toDeadLetter>[] = [];
    let sequence = Math.max(cursor + 1, state.first_seq);
    for (; sequence <= state.last_seq && items.length < limit; sequence++) {
      const stored = await manager.streams.getMessage(deadLetterStream, { seq: sequence });
      if (stored) items.push(toDeadLetter(stored));
    }
    return { items, nextCursor: sequence <= state.last_seq ? String(sequence - 1) : null };
  });
}

function toDeadLetter(stored: StoredMsg) {
  const header = (name: string) => stored.header.get(name);
  return {
    id: String(stored.seq),
    service: stored.subject.slice('dead-letter.'.length),
    reason: header('Saga-Reason'),
    subject: header('Saga-Subject'),
    attempts: Number(header('Saga-Attempts')),
    messageId: header('Saga-Message-Id'),
    time: stored.time.toISOString(),
    body: stored.string(),
  };
}
