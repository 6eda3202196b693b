/** The one public port: the API of docs/openapi.json, most of it passed on to the service that owns the answer. */
import type { NatsConnection } from '@nats-io/transport-node';
import { pino } from 'pino';
import { connectNats } from '#libs/nats/connect.ts';
import { brokerState } from '#libs/nats/health.ts';
import { readConfig } from '#libs/service/config.ts';
import { createHttp, type FastifyInstance } from '#libs/service/http.ts';
import { createLooks } from '#libs/service/looks.ts';
import { createRegistry } from '#libs/service/metrics.ts';
import { stopOnSignal } from '#libs/service/stop.ts';
import { traceFields } from '#libs/telemetry/log-fields.ts';
import { apiDocsRoutes } from './api-docs.ts';
import { type GatewayConfig, gatewayConfig } from './config.ts';
import { deadLetterRoutes } from './dead-letters.ts';
import { eventRoutes } from './events.ts';
import { faultRoutes } from './faults.ts';
import { inDoubtRoutes } from './in-doubt.ts';
import { invariantRoutes } from './invariants.ts';
import { partRoutes } from './parts.ts';
import { createUpstreams, passOn, type Upstreams } from './pass-on.ts';
import { placingRoutes } from './place-orders.ts';
import { limitRate } from './rate-limit.ts';
import { timelineRoutes } from './timeline.ts';
import { traceRoutes } from './traces.ts';

export async function startGateway(): Promise<void> {
  const config = readConfig(gatewayConfig);
  const log = pino({ name: 'gateway', level: config.LOG_LEVEL, mixin: traceFields });
  const upstreams = createUpstreams(config);
  const connection = await connectNats({
    url: config.NATS_URL,
    name: 'gateway',
    monitorUrl: config.NATS_MONITOR_URL,
    unsafe: config.NATS_UNSAFE === '1',
  });

  const looks = createLooks(createRegistry('gateway'));

  const app = createHttp({
    logger: log,
    async health() {
      const broker = await brokerState(connection);
      const { usable, services } = await upstreams.ready();
      return { ready: broker === 'up' && usable, detail: { broker, ...services } };
    },
    metrics: looks.metrics,
    trustedProxies: config.TRUSTED_PROXIES,
  });
  await limitRate(app, config.RATE_LIMIT_PER_MINUTE);
  await registerRoutes(app, upstreams, connection, config);

  await app.listen({ host: config.SERVICE_HOST, port: config.SERVICE_PORT });
  log.info({ port: config.SERVICE_PORT }, 'ready');
  stopOnSignal(log, [() => app.close(), () => upstreams.close(), () => connection.drain()]);
}

/** Every route of the public port; libs/contracts/api.ts lists the same, and a test compares. */
export async function registerRoutes(
  app: FastifyInstance,
  upstreams: Upstreams,
  connection: NatsConnection,
  config: GatewayConfig,
): Promise<void> {
  // What is passed on is not read here: the service that owns the route parses it.
  await app.register(async (scope) => passOn(scope, upstreams));
  placingRoutes(app, upstreams, connection, config);
  timelineRoutes(app, upstreams);
  await faultRoutes(app, connection, config);
  partRoutes(app, config);
  deadLetterRoutes(app, upstreams, config);
  invariantRoutes(app, connection, config);
  inDoubtRoutes(app, upstreams, config);
  eventRoutes(app, connection);
  traceRoutes(app, config);
  await apiDocsRoutes(app);
}
