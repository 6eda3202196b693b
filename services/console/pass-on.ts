/** Routes that a service owns: body and answer pass through as bytes, so each is parsed in one place only. */
import { context, propagation } from '@opentelemetry/api';
import { Pool } from 'undici';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { FinishedAnswer, HandedOver } from '#libs/contracts/placing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from '#libs/service/http.ts';
import { createCaller } from '#libs/service/ndjson.ts';
import type { GatewayConfig } from './config.ts';

/** Everything that answers behind the gateway. */
export type Upstream = ServiceName | 'coordinator';
export const upstreamNames: readonly Upstream[] = [...serviceNames, 'coordinator'];

type Route = {
  method: 'GET' | 'POST';
  path: string;
  service: ServiceName;
  /** Asked when the service knows nothing: an order that was refused before anybody took it in. */
  orElse?: Upstream;
};

const routes: readonly Route[] = [
  { method: 'GET', path: '/orders', service: 'order' },
  { method: 'GET', path: '/orders/:orderId', service: 'order', orElse: 'coordinator' },
  { method: 'POST', path: '/orders/:orderId/cancel', service: 'order' },
  { method: 'GET', path: '/wallets', service: 'payment' },
  { method: 'GET', path: '/wallets/:customerId', service: 'payment' },
  { method: 'GET', path: '/stock', service: 'inventory' },
  { method: 'GET', path: '/stock/:dishId', service: 'inventory' },
  { method: 'GET', path: '/couriers', service: 'logistics' },
  { method: 'GET', path: '/notifications', service: 'notification' },
];

const requestHeaders = ['content-type'] as const;
const answerHeaders = ['content-type', 'location'] as const;
const connectionsMax = 256;
const answerTimeoutMs = 20_000;
const readyTimeoutMs = 2_000;
/** Every attempt of a transaction, each with its wait for locks. */
const transactionMsMax = 60_000;

export type Upstreams = {
  send(service: Upstream, request: UpstreamRequest): Promise<UpstreamAnswer>;
  /** Commands to the coordinator, each answered as its transaction ends. */
  placeInTransaction(order: HandedOver): Promise<FinishedAnswer>;
  ready(): Promise<Record<string, string>>;
  close(): Promise<void>;
};

type UpstreamRequest = {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: Buffer | string | null;
  /** Shorter than the bound of every request. */
  withinMs?: number;
};
type UpstreamAnswer = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
};

export function createUpstreams(config: GatewayConfig): Upstreams {
  const pools = new Map(
    upstreamNames.map((name) => {
      const url = config[`${name.toUpperCase() as Uppercase<Upstream>}_URL`];
      return [name, new Pool(url, { connections: connectionsMax, headersTimeout: answerTimeoutMs })];
    }),
  );

  const send: Upstreams['send'] = async (service, request) => {
    const { method, path, headers = {}, body = null, withinMs } = request;
    propagation.inject(context.active(), headers);
    try {
      const pool = pools.get(service) as Pool;
      const signal = withinMs === undefined ? {} : { signal: AbortSignal.timeout(withinMs) };
      const answer = await pool.request({ method: method as 'GET', path, headers, body, ...signal });
      const bytes = Buffer.from(await answer.body.arrayBuffer());
      return { status: answer.statusCode, headers: answer.headers, body: bytes };
    } catch (cause) {
      throw new Problem('service-unavailable', `${service} cannot be reached`, { cause });
    }
  };

  const callCoordinator = createCaller<HandedOver, FinishedAnswer>({
    pool: pools.get('coordinator') as Pool,
    path: '/orders',
    key: 'orders',
    answerMsMax: transactionMsMax,
  });

  const readiness = async (service: Upstream): Promise<[string, string]> => {
    const timeout = new Promise<never>((_, reject) =>
      setTimeout(reject, readyTimeoutMs, new Error('late')).unref(),
    );
    const answer = send(service, { method: 'GET', path: '/readyz' });
    const state = await Promise.race([answer, timeout]).then(
      ({ status }) => (status === 200 ? 'up' : 'not ready'),
      () => 'down',
    );
    return [service, state];
  };

  return {
    send,
    placeInTransaction: (order) =>
      callCoordinator(order).catch((cause) => {
        const unknown = 'the coordinator did not answer; whether this took effect is unknown';
        throw new Problem('service-unavailable', unknown, { cause });
      }),
    ready: async () => Object.fromEntries(await Promise.all(upstreamNames.map(readiness))),
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
    },
  };
}

export function passOn(app: FastifyInstance, upstreams: Upstreams): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  for (const { method, path, service, orElse } of routes) {
    app.route({
      method,
      url: `/api${path}`,
      handler: async (request: FastifyRequest, reply: FastifyReply) => {
        const headers: Record<string, string> = {};
        for (const name of requestHeaders) {
          const value = request.headers[name];
          if (value !== undefined) headers[name] = String(value);
        }
        const body = (request.body as Buffer | undefined) ?? null;
        // The service sees the path as it was sent: decoding it twice would change it.
        const asked = { method, path: request.url.slice('/api'.length), headers, body };
        let answer = await upstreams.send(service, asked);
        if (answer.status === 404 && orElse) {
          const other = await upstreams.send(orElse, asked).catch(() => answer);
          if (other.status === 200) answer = other;
        }
        for (const name of answerHeaders) {
          const value = answer.headers[name];
          if (value !== undefined) reply.header(name, value);
        }
        return reply.code(answer.status).send(answer.body);
      },
    });
  }
}
