/** An order's trace, as Jaeger has it: asked for here, so that a page needs to know one address only. */
import { traceParams } from '#libs/contracts/answers.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import type { GatewayConfig } from './config.ts';

const jaegerMsMax = 5_000;
const howToGetJaeger =
  'no Jaeger is known: put a jaeger of version 2 on the PATH or run one (docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger:2.20.0), then start the lab again; or set JAEGER_URL';

export function traceRoutes(app: FastifyInstance, { JAEGER_URL }: GatewayConfig): void {
  app.get('/api/traces/:traceId', async (request, reply) => {
    const { traceId } = parse(traceParams, request.params);
    if (JAEGER_URL === undefined) throw new Problem('service-unavailable', howToGetJaeger);
    const { status, body } = await ask(new URL(`/api/traces/${traceId}`, JAEGER_URL));
    if (status === 404) {
      throw new Problem('not-found', `Jaeger has no trace ${traceId} (yet: spans arrive a second late)`);
    }
    if (status !== 200) throw new Problem('service-unavailable', `Jaeger answered ${status}`);
    return reply.type('application/json').send(body);
  });
}

async function ask(url: URL): Promise<{ status: number; body: Buffer }> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(jaegerMsMax) });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  } catch (cause) {
    throw new Problem('service-unavailable', `Jaeger cannot be reached at ${url.origin}`, { cause });
  }
}
