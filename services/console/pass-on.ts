/** Routes that a service owns: body and answer pass through as bytes, so each is parsed in one place only. */
import { context, propagation } from '@opentelemetry/api';
import { type ServiceName, serviceNames } from '#libs/contracts/events.ts';
import type { FinishedAnswer, HandedOver } from '#libs/contracts/placing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from '#libs/service/http.ts';
import { createReplicaCaller } from '#libs/service/ndjson.ts';
import {
  type Answer,
  createReplicas,
  type Repeat,
  type Replica,
  type ReplicaRequest,
  type Replicas,
} from '#libs/service/replicas.ts';
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
const answerMsMax = 20_000;
const readyMsMax = 2_000;
/** Every attempt of a transaction, each with its wait for locks. */
const transactionMsMax = 60_000;

export type Upstreams = {
  send(service: Upstream, request: UpstreamRequest): Promise<Answer>;
  /** Whose turn it is, and then the others: for batches that gather for one replica. */
  spread(service: Upstream): readonly Replica[];
  /** Commands to the coordinator, each answered as its transaction ends. */
  placeInTransaction(order: HandedOver): Promise<FinishedAnswer>;
  ready(): Promise<Readiness>;
  close(): Promise<void>;
};

/** Of every service; it can be used while one replica of it is ready. */
export type Readiness = { usable: boolean; services: Record<string, string> };

type UpstreamRequest = Pick<ReplicaRequest, 'method' | 'path' | 'headers' | 'body' | 'first'> & {
  /**
   * A GET may be asked of the next replica whatever became of the first try. Anything else only when it was never
   * sent, unless it says that doing it twice does no harm.
   */
  repeat?: Repeat;
  /** Shorter than the bound of every request. */
  withinMs?: number;
};

export function createUpstreams(config: GatewayConfig): Upstreams {
  const services = new Map(
    upstreamNames.map((name) => {
      const urls = config[`${name.toUpperCase() as Uppercase<Upstream>}_URL`];
      return [name, createReplicas({ urls, resolve: config.RESOLVE_REPLICAS, connectionsMax })];
    }),
  );
  const replicasOf = (service: Upstream) => services.get(service) as Replicas;

  const send: Upstreams['send'] = async (service, request) => {
    const { method, headers = {}, withinMs = answerMsMax } = request;
    propagation.inject(context.active(), headers);
    const repeat = request.repeat ?? (method === 'GET' ? 'always' : 'unsent');
    try {
      return await replicasOf(service).request({ ...request, headers, repeat, withinMs });
    } catch (cause) {
      throw new Problem('service-unavailable', `${service} cannot be reached`, { cause });
    }
  };

  const coordinators = replicasOf('coordinator');
  const callCoordinator = createReplicaCaller<HandedOver, FinishedAnswer>({
    replicas: coordinators,
    path: '/orders',
    key: 'orders',
    answerMsMax: transactionMsMax,
    // One that was sent may be under way: a second coordinator would run into its locks, and the client's own
    // repeat under its key finds out what became of it.
    repeat: 'unsent',
    // Two calls under one key meet in one coordinator, which lets the second one wait for the first.
    candidatesFor: ({ orderId }) => coordinators.of(orderId),
  });

  return {
    send,
    spread: (service) => replicasOf(service).spread(),
    placeInTransaction: (order) =>
      callCoordinator(order).catch((cause) => {
        const unknown = 'the coordinator did not answer; whether this took effect is unknown';
        throw new Problem('service-unavailable', unknown, { cause });
      }),
    async ready() {
      const states = await Promise.all(upstreamNames.map((name) => readiness(replicasOf(name).all())));
      return {
        usable: states.every(({ usable }) => usable),
        services: Object.fromEntries(upstreamNames.map((name, index) => [name, states[index]?.state ?? ''])),
      };
    },
    async close() {
      await Promise.all([...services.values()].map((replicas) => replicas.close()));
    },
  };
}

async function readiness(replicas: readonly Replica[]): Promise<{ usable: boolean; state: string }> {
  const states = await Promise.all(
    replicas.map(async ({ pool }) => {
      const asked = { method: 'GET', path: '/readyz', signal: AbortSignal.timeout(readyMsMax) } as const;
      return pool.request(asked).then(
        async ({ statusCode, body }) => {
          await body.dump();
          return statusCode === 200 ? 'up' : 'not ready';
        },
        () => 'down',
      );
    }),
  );
  const up = states.filter((state) => state === 'up').length;
  if (up === states.length) return { usable: true, state: 'up' };
  const worst = states.includes('not ready') ? 'not ready' : 'down';
  return { usable: up > 0, state: states.length === 1 ? worst : `${up} of ${states.length} up` };
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
          // Not "there is none" while the one that would know cannot say so.
          answer = await upstreams.send(orElse, asked);
          if (answer.status >= 500) throw new Problem('service-unavailable', `${orElse} cannot say`);
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
