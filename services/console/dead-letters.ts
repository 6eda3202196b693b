/** What could not be handled, and undos that fail again and again: asked of the services that keep them. */
import {
  type DeadLetterItem,
  deadLettersQuery,
  letterKey,
  letterParams,
  readLetterId,
  type StuckUndo,
} from '#libs/contracts/dead-letters.ts';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, type FastifyReply, parse } from '#libs/service/http.ts';
import { assertOperator } from '#libs/service/operator.ts';
import type { Answer } from '#libs/service/replicas.ts';
import type { GatewayConfig } from './config.ts';
import type { Upstreams } from './pass-on.ts';

/** Whoever takes longer is left out of a list, and named. */
const withinMs = 4_000;
type Part<Item> = { items: Item[]; nextCursor: string | null };

export function deadLetterRoutes(app: FastifyInstance, upstreams: Upstreams, config: GatewayConfig): void {
  /** One replica of each is enough: it reads the database that they share. */
  async function gatherFrom<Item>(services: readonly ServiceName[], path: string) {
    const missing: string[] = [];
    const parts = await Promise.all(
      services.map(async (service): Promise<Part<Item>> => {
        const answer = await upstreams
          .send(service, { method: 'GET', path, withinMs })
          .catch(() => undefined);
        if (answer?.status === 200) return JSON.parse(answer.body.toString());
        missing.push(service);
        return { items: [], nextCursor: null };
      }),
    );
    const isCut = parts.some(({ nextCursor }) => nextCursor !== null);
    return { items: parts.flatMap(({ items }) => items), isCut, missing };
  }

  app.get('/api/dead-letters', async (request) => {
    const { service, cursor, limit, state } = parse(deadLettersQuery, request.query);
    const query = new URLSearchParams({ state, limit: String(limit), ...(cursor ? { cursor } : {}) });
    const services = service ? [service] : serviceNames;
    const { items, isCut, missing } = await gatherFrom<DeadLetterItem>(services, `/dead-letters?${query}`);
    // Each has given its newest, and none more than a page: the newest of all are among them.
    items.sort((a, b) => (letterKey(a) < letterKey(b) ? 1 : -1));
    const shown = items.slice(0, limit);
    const last = shown.at(-1);
    const isLast = last === undefined || (items.length <= limit && !isCut);
    return { items: shown, nextCursor: isLast ? null : letterKey(last), missing };
  });

  app.get('/api/stuck', async () => {
    const { items, missing } = await gatherFrom<StuckUndo>(serviceNames, '/stuck');
    items.sort((a, b) => (a.firstAt < b.firstAt ? -1 : 1));
    return { items, nextCursor: null, missing };
  });

  app.get('/api/dead-letters/:id', async (request, reply) => {
    const { service, id } = parseId(request.params);
    return passBack(reply, await upstreams.send(service, { method: 'GET', path: `/dead-letters/${id}` }));
  });

  for (const action of ['replay', 'discard'] as const) {
    app.post(`/api/dead-letters/:id/${action}`, async (request, reply) => {
      assertOperator(request, config, `${action} a dead letter`);
      const { service, id } = parseId(request.params);
      const path = `/dead-letters/${id}/${action}`;
      const headers = { authorization: `Bearer ${config.ADMIN_TOKEN}` };
      // Doing either twice does no harm: the journal lets a replay take effect once.
      return passBack(
        reply,
        await upstreams.send(service, { method: 'POST', path, headers, repeat: 'always' }),
      );
    });
  }
}

function parseId(params: unknown) {
  const { id } = parse(letterParams, params);
  const found = readLetterId(id);
  if (!found) throw new Problem('not-found', `no dead letter ${id}`);
  return found;
}

function passBack(reply: FastifyReply, answer: Answer): FastifyReply {
  return reply.code(answer.status).type(String(answer.headers['content-type'])).send(answer.body);
}
