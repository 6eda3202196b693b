/**
 * Starts a service from its definition: configuration → database → broker → driver → HTTP, and stops it in
 * reverse, so that nothing is taken in that cannot be finished.
 */
import { randomUUIDv7 } from 'node:crypto';
import { drizzle } from 'drizzle-orm/node-postgres';
import { pino } from 'pino';
import { createInjectorFor } from '#libs/faults/start.ts';
import { connectNats } from '#libs/nats/connect.ts';
import { consume } from '#libs/nats/consume.ts';
import { brokerState } from '#libs/nats/health.ts';
import { lookingAt } from '#libs/nats/looking.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { startAnnouncer } from '#libs/step/announcer.ts';
import { createDeadLetters } from '#libs/step/dead-letters.ts';
import { receive } from '#libs/step/delivery.ts';
import { createFailures } from '#libs/step/failures.ts';
import { createReach } from '#libs/step/hooks.ts';
import { watchOutboxDepth } from '#libs/step/outbox-depth.ts';
import { createOutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { startRelay } from '#libs/step/relay.ts';
import { createSagaDriver } from '#libs/step/saga-driver.ts';
import { type StreamWatch, watchStream } from '#libs/step/stream-watch.ts';
import { traceBatch, traceNothing } from '#libs/telemetry/batch-trace.ts';
import { traceFields } from '#libs/telemetry/log-fields.ts';
import { retraceEvents } from '#libs/telemetry/retrace.ts';
import { tracingOn } from '#libs/telemetry/tracing-on.ts';
import { readConfig, serviceConfig } from './config.ts';
import { createCounting } from './counting.ts';
import { deadLetterRoutes } from './dead-letter-routes.ts';
import type { ServiceContext, ServiceDefinition } from './definition.ts';
import { subjectsOf, tellForgetting } from './forgetting.ts';
import { createHttp } from './http.ts';
import { journalRoutes } from './journal-routes.ts';
import { lookAtConsumer, lookAtDatabase, lookAtFailures } from './look-at.ts';
import { createLooks } from './looks.ts';
import { createMetrics } from './metrics.ts';
import { createRequester } from './requests.ts';
import { stopOnSignal } from './stop.ts';
import { strikeRequests } from './strike-requests.ts';
import { createTwoPhase } from './two-phase.ts';

const waitingLanesMax = 8;
/** Causes that wait for their batch, beside those that wait for a row. */
const waitingMax = 20_000;
/** Longer than a statement may take: what is not answered by then is lost with its connection, which does not know. */
const answerMsMax = 20_000;

export async function start(service: ServiceDefinition): Promise<void> {
  const { name } = service;
  const config = readConfig(serviceConfig);
  const log = pino({ name, level: config.LOG_LEVEL, mixin: traceFields });
  const metrics = createMetrics(name);
  const now = () => new Date();
  const onTrouble = (error: unknown, what: string) => log.warn({ err: error }, what);

  const connections = {
    name,
    connectionsMax: config.DATABASE_CONNECTIONS_MAX,
    answerTimeoutMs: answerMsMax,
    onError: (error: Error) => onTrouble(error, 'an idle database connection ended'),
  };
  const pool = createPool(config.DATABASE_URL, { ...connections, purpose: 'steps' });
  // For orders that wait for a row that somebody else holds: they must not keep the others from a connection.
  const lanePool = createPool(config.DATABASE_URL, {
    ...connections,
    name: `${name} waiting`,
    purpose: 'steps',
    connectionsMax: waitingLanesMax,
  });
  // Of their own, so that no number of readers can keep a step waiting for a connection.
  const readPool = createPool(config.DATABASE_URL, { ...connections, purpose: 'reads' });
  // Before all else: what stands in doubt may hold locks that everything below runs into.
  const twoPhase = createTwoPhase({ service, config, metrics, onTrouble });
  await migrate(pool, service.migrations, async () => {
    if (config.LAB_DATA) await runThenCommit(pool, service.seed);
  });

  const connection = await connectNats({
    url: config.NATS_URL,
    name,
    monitorUrl: config.NATS_MONITOR_URL,
    unsafe: config.NATS_UNSAFE === '1',
  });
  let watch: StreamWatch | undefined;
  const publish = createPublisher(connection, {
    opening: () => (watch ? watch.opening() : Promise.reject(new Error('the service is still starting'))),
    onReused: (from, upTo) => watch?.reused(from, upTo),
  });
  const injector = await createInjectorFor(connection, config.FAULTS, (point, action) => {
    metrics.faults.inc({ point, action });
    log.warn({ point, action }, 'injected fault fired');
  });

  const { countSteps, onBatch } = createCounting(metrics, service);
  const spansSent = tracingOn ? (await import('#libs/telemetry/sdk.ts')).spansSent : undefined;
  const publisher = createOutboxPublisher({ pool, publish, now, onTrouble, spansSent });
  const driver = createSagaDriver({
    service: name,
    pauseMs: service.pauseMs ?? 0,
    pool,
    lanePool,
    publisher,
    injector,
    reach: config.FAULTS ? createReach(injector) : undefined,
    traceBatch: tracingOn ? traceBatch : traceNothing,
    now,
    newId: randomUUIDv7,
    onTrouble,
    onBatch,
  });
  const relay = startRelay({
    pool,
    publish,
    now,
    losses: publisher.losses,
    onTrouble,
    retrace: spansSent && {
      tell: retraceEvents(name, [...service.reactions, ...(service.participation ?? [])]),
      isOurs: publisher.isOurs,
      sent: spansSent,
    },
    onRelayed(messages) {
      metrics.relayed.inc(messages);
      log.info({ messages }, 'the relay published what was left over');
    },
  });

  watch = watchStream(connection, {
    looking: lookingAt(connection),
    pool,
    subjects: subjectsOf(name),
    durable: name,
    now,
    onAway: publisher.distrust,
    ...tellForgetting(metrics, log),
    onTrouble,
  });

  const outboxDepth = watchOutboxDepth({
    pool: readPool,
    messagesMax: config.OUTBOX_MESSAGES_MAX,
    onChange(isFull) {
      metrics.outboxFull.set(Number(isFull));
      log.warn(isFull ? 'the outbox is full' : 'the outbox has room again');
    },
    onTrouble,
  });

  const context: ServiceContext = {
    config,
    log,
    db: drizzle(readPool, { casing: 'snake_case' }),
    connection,
    isOutboxFull: outboxDepth.isFull,
    request: createRequester(service.reactions, driver),
  };
  const background = service.background?.(context);

  const fromBus = service.reactions.filter(({ on }) => !on.startsWith('request:'));
  const reactions = new Map(fromBus.map((reaction) => [reaction.on as string, reaction]));
  const failures = createFailures({ pool, now, newId: randomUUIDv7 });
  const delivery = {
    reactions,
    failures,
    submit: driver.submit,
    onTrouble,
    onDeadLetter(reason: string) {
      metrics.deadLetters.inc();
      log.error({ reason }, 'dead-lettered');
    },
    onStuck(error: unknown, orderId: string, attempts: number) {
      metrics.stuck.inc();
      log.error({ err: error, orderId, attempts }, 'an undo is stuck; it is retried for ever');
    },
  };
  // Not of the steps' pool: while the broker is away it keeps its connection for seconds.
  const announcer = startAnnouncer({ service: name, pool: readPool, publish, now, onTrouble });
  // Until then nothing is published: what came so early would wait.
  await watch.opened;
  const consumer = await consume({
    connection,
    durable: name,
    onMessage(message) {
      if (message.redelivered) metrics.retries.inc();
      return receive(message, delivery);
    },
    isFull: () => driver.waiting() >= waitingMax || outboxDepth.isFull(),
    onDeleted: watch.look,
    onTrouble: (error) => onTrouble(error, 'the consumer starts again'),
  });

  const looks = createLooks(metrics.registry);
  lookAtDatabase(looks, readPool);
  lookAtFailures(looks, readPool);
  lookAtConsumer(looks, connection, name);

  const app = createHttp({
    logger: log,
    async health() {
      const database = await pool.query('select 1').then(
        () => 'up',
        (error: Error) => `down: ${error.message}`,
      );
      const broker = await brokerState(connection);
      const ready = database === 'up' && broker === 'up';
      return { ready, detail: { database, broker, ...watch.detail() } };
    },
    async metrics() {
      metrics.waiting.set(driver.waiting());
      metrics.waitingForRows.set(driver.waitingForRows());
      return looks.metrics();
    },
  });
  if (config.FAULTS) strikeRequests(app, name, () => injector);
  journalRoutes(app, service, context);
  const { db } = context;
  const letters = createDeadLetters({ service: name, db, failures, reactions, submit: driver.submit });
  deadLetterRoutes(app, letters, config.ADMIN_TOKEN);
  twoPhase?.takePart(app, { publisher, injector, onVerdicts: countSteps });
  service.routes(app, context);
  await app.listen({ host: config.SERVICE_HOST, port: config.SERVICE_PORT });
  log.info({ port: config.SERVICE_PORT }, 'ready');

  stopOnSignal(log, [
    // First, because it ends what hangs, and all that follows would wait for that.
    () => injector.stop(),
    () => app.close(),
    () => consumer.stop(),
    () => background?.stop(),
    () => twoPhase?.stop(),
    // Before the driver, whose last messages would wait for a stream that is away.
    () => watch.stop(),
    () => driver.stop(),
    () => lanePool.end(),
    () => relay.stop(),
    () => announcer.stop(),
    () => outboxDepth.stop(),
    () => connection.drain(),
    () => readPool.end(),
    () => pool.end(),
  ]);
}
