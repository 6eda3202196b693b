/** A service's letters over HTTP: to be read by the gateway, and settled by whoever shows the operator's token. */
import { z } from 'zod';
import { type DeadLetter, deadLetterQuery, letterKey, type StuckUndo } from '#libs/contracts/dead-letters.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { createDeadLetters } from '#libs/step/dead-letters.ts';
import { type FastifyInstance, type FastifyRequest, parse } from './http.ts';
import { assertToken } from './operator.ts';
import { page } from './page.ts';
import { unavailability } from './requests.ts';

const letterParams = z.object({ id: z.uuid() });

export function deadLetterRoutes(
  app: FastifyInstance,
  letters: ReturnType<typeof createDeadLetters>,
  adminToken: string | undefined,
): void {
  /** The gateway has asked already; this holds for whoever else is on the network. */
  const idFor = (request: FastifyRequest, action: string): string => {
    assertToken(request.headers.authorization, adminToken);
    const { id } = parse(letterParams, request.params);
    request.log.warn({ action, letter: id }, 'an operator acts');
    return id;
  };
  const found = (letter: DeadLetter | undefined, id: string): DeadLetter => {
    if (!letter) throw new Problem('not-found', `no dead letter ${id}`);
    return letter;
  };

  app.get('/dead-letters', async (request) => {
    const query = parse(deadLetterQuery, request.query);
    return page(await letters.list(query), query.limit, letterKey);
  });

  app.get('/dead-letters/:id', async (request) => {
    const { id } = parse(letterParams, request.params);
    return found(await letters.find(id), id);
  });

  app.get('/stuck', async (): Promise<{ items: StuckUndo[] }> => ({ items: await letters.stuck() }));

  app.post('/dead-letters/:id/replay', async (request) => {
    const id = idFor(request, 'replay');
    const end = await letters.replay(id).catch((error) => {
      throw unavailability(error) ?? error;
    });
    if (!end) throw new Problem('not-found', `no dead letter ${id}`);
    if ('failed' in end) throw new Problem('replay-failed', end.failed);
    return end.replayed;
  });

  app.post('/dead-letters/:id/discard', async (request) => {
    const id = idFor(request, 'discard');
    const discarded = await letters.discard(id);
    if (discarded) return discarded;
    found(await letters.find(id), id);
    throw new Problem('letter-replayed');
  });
}
