/** Routes that a service owns: body and answer pass through as bytes, so each is parsed in one place only. */
import { context, propagation } from '@opentelemetry/api';
import { Pool } from 'undici';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from '#libs/service/http.ts';
import type { GatewayConfig } from './config.ts';

type Route = { method: 'GET' | 'POST'; path: string; service: ServiceName };

const routes: readonly Route[] = [
  { method: 'GET', path: '/orders', service: 'order' },
  { method: 'GET', path: '/orders/:orderId', service: 'order' },
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

export type Upstreams = {
  send(service: ServiceName, request: UpstreamRequest): Promise<UpstreamAnswer>;
  ready(): Promise<Record<string, string>>;
  close(): Promise<void>;
};

type UpstreamRequest = {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: Buffer | string | null;
};
type UpstreamAnswer = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
};

export function createUpstreams(config: GatewayConfig): Upstreams {
  const pools = new Map(
    serviceNames.map((name) => {
      const url = config[`${name.toUpperCase() as Uppercase<ServiceName>}_URL`];
      return [name, new Pool(url, { connections: connectionsMax, headersTimeout: answerTimeoutMs })];
    }),
  );

  const send: Upstreams['send'] = async (service, { method, path, headers = {}, body = null }) => {
    propagation.inject(context.active(), headers);
    try {
      const pool = pools.get(service) as Pool;
      const answer = await pool.request({ method: method as 'GET', path, headers, body });
      const bytes = Buffer.from(await answer.body.arrayBuffer());
      return { status: answer.statusCode, headers: answer.headers, body: bytes };
    } catch (cause) {
      throw new Problem('service-unavailable', `${service} cannot be reached`, { cause });
    }
  };

  const readiness = async (service: ServiceName): Promise<[string, string]> => {
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
    ready: async () => Object.fromEntries(await Promise.all(serviceNames.map(readiness))),
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
    },
  };
}

export function passOn(app: FastifyInstance, upstreams: Upstreams): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  for (const { method, path, service } of routes) {
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
        const answer = await upstreams.send(service, {
          method,
          path: request.url.slice('/api'.length),
          headers,
          body,
        });
        for (const name of answerHeaders) {
          const value = answer.headers[name];
          if (value !== undefined) reply.header(name, value);
        }
        return reply.code(answer.status).send(answer.body);
      },
    });
  }
}
