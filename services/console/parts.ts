/**
 * Faults from outside, over HTTP: passed on to the launcher of this lab, which is asked at its socket. Without a
 * launcher (containers, Kubernetes) the platform is what starts and stops processes, and nobody is asked.
 */
import { Pool } from 'undici';
import {
  type Link,
  linkMode,
  linkParams,
  type Part,
  partActBody,
  partActParams,
} from '#libs/contracts/parts.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, type FastifyReply, parse } from '#libs/service/http.ts';
import { assertOperator } from '#libs/service/operator.ts';
import type { GatewayConfig } from './config.ts';

/** A part may have to stop, start again, and get its streams or roles. */
const answerMsMax = 180_000;
/** Acts that take a while must not keep the next one waiting. */
const connectionsMax = 16;
/** So that the answer has left before the gateway that gives it is killed. */
const actAfterAnswerMs = 200;

export function partRoutes(app: FastifyInstance, config: GatewayConfig): void {
  const launcher = config.LAB_CONTROL === undefined ? undefined : createLauncher(config.LAB_CONTROL);
  app.addHook('onClose', () => launcher?.close());
  const found = (): Launcher => {
    if (launcher) return launcher;
    throw new Problem('no-launcher');
  };

  app.get('/api/parts', async () => listed(await found().ask<Part[]>('GET', ['parts'])));

  app.post('/api/parts/:name/:act', async (request, reply) => {
    const { name, act } = parse(partActParams, request.params);
    const body = parse(partActBody, request.body ?? {});
    const { ask } = found();
    assertOperator(request, config, `${act} ${name}`);
    const itself = (await ask<Part[]>('GET', ['parts'])).find(({ pid }) => pid === process.pid);
    const work = () => ask<Part>('POST', ['parts', name, act], body);
    if (itself?.name !== name || act === 'resume' || act === 'start') return work();
    // Nobody would be here to answer, nor to take the command that ends it.
    if (act === 'pause' || act === 'stop' || body.hold) throw new Problem('part-answers');
    return answerThen(reply, itself, () => work().catch((error) => request.log.error(error)));
  });

  app.get('/api/links', async () => listed(await found().ask<Link[]>('GET', ['links'])));

  app.put('/api/links/:client/:server', async (request) => {
    const { client, server } = parse(linkParams, request.params);
    const mode = parse(linkMode, request.body);
    const { ask } = found();
    assertOperator(request, config, `${mode.mode} ${client} to ${server}`);
    return listed(await ask<Link[]>('PUT', ['links', client, server], mode));
  });
}

const listed = <Item>(items: readonly Item[]) => ({ items, nextCursor: null });

function answerThen(reply: FastifyReply, body: unknown, work: () => void): FastifyReply {
  reply.raw.once('close', () => setTimeout(work, actAfterAnswerMs));
  return reply.code(202).send(body);
}

type Launcher = {
  ask<Body>(method: 'GET' | 'POST' | 'PUT', path: readonly string[], body?: unknown): Promise<Body>;
  close(): Promise<void>;
};

type Refusal = { code: string; error: string };

function createLauncher(socketPath: string): Launcher {
  const options = { socketPath, connections: connectionsMax };
  const pool = new Pool('http://launcher', {
    ...options,
    headersTimeout: answerMsMax,
    bodyTimeout: answerMsMax,
  });
  return {
    async ask<Body>(method: 'GET' | 'POST' | 'PUT', path: readonly string[], body?: unknown) {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const asked = { method, path: `/${path.map(encodeURIComponent).join('/')}`, ...sent };
      const { statusCode, body: answer } = await pool.request(asked).catch((cause) => {
        throw new Problem('service-unavailable', 'the launcher cannot be reached', { cause });
      });
      const answered = await answer.json();
      if (statusCode < 400) return answered as Body;
      throw refusalOf(answered as Refusal);
    },
    close: () => pool.destroy(),
  };
}

/** What the launcher says no to is the caller's affair; anything else is that the lab did not do as it should. */
function refusalOf({ code, error }: Refusal): Problem {
  if (code === 'part-unknown' || code === 'link-unknown') return new Problem('not-found', error);
  if (code === 'not-running') return new Problem('part-not-running', error);
  if (code === 'links-off') return new Problem('links-off', error);
  return new Problem('service-unavailable', error);
}
