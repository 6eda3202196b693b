/** Starts the coordinator. It needs its own database and the participants, and no broker. */
import { hostname } from 'node:os';
import { type Logger, pino } from 'pino';
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import type { Menu, MenuAnswer } from '#libs/contracts/pricing.ts';
import { Problem } from '#libs/contracts/problems.ts';
import type { BranchOrder } from '#libs/contracts/two-phase.ts';
import { carriedFaults, type Injector } from '#libs/faults/injector.ts';
import type { FaultAction } from '#libs/faults/points.ts';
import { createInjectorFor } from '#libs/faults/start.ts';
import { connectNats } from '#libs/nats/connect.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { readConfig } from '#libs/service/config.ts';
import { createFresh } from '#libs/service/fresh.ts';
import { createHttp } from '#libs/service/http.ts';
import type { Replicas } from '#libs/service/replicas.ts';
import { stopOnSignal } from '#libs/service/stop.ts';
import { strikeRequests } from '#libs/service/strike-requests.ts';
import { traceFields } from '#libs/telemetry/log-fields.ts';
import { createAftermath } from './aftermath.ts';
import { logMsMax } from './bounds.ts';
import { type CoordinatorConfig, coordinatorConfig } from './config.ts';
import { createDecisionLog } from './decision-log.ts';
import { createMetrics, lookAtLog } from './metrics.ts';
import { createParticipants } from './participants.ts';
import { finishedOrder } from './place-orders.ts';
import { createQueues } from './queues.ts';
import { createRecovery } from './recovery.ts';
import { routes } from './routes.ts';
import { createTestimony, type Lost } from './testimony.ts';
import type { Ended, TransactionTools } from './transaction.ts';

const menuFreshMsMax = 10_000;
const menuMsMax = 3_000;
const barMsMax = 3_000;
/** Of a stop, which has 10 s in all: most of it for the requests under way. */
const aftermathMsMax = 4_000;

export async function startCoordinator(): Promise<void> {
  const config = readConfig(coordinatorConfig);
  const log = pino({ name: 'coordinator', level: config.LOG_LEVEL, mixin: traceFields });
  const onTrouble = (error: unknown, what: string) => log.warn({ err: error }, what);
  const metrics = createMetrics();
  const name = config.COORDINATOR_NAME ?? `${hostname()}:${config.SERVICE_PORT}`;

  const onError = (error: Error) => onTrouble(error, 'an idle database connection ended');
  const pool = {
    name: 'coordinator',
    purpose: 'steps',
    // One for each kind of statement that is gathered: more had nothing to do.
    connectionsMax: 4,
    answerTimeoutMs: logMsMax,
    onError,
  } as const;
  const synced = createPool(config.DATABASE_URL, pool);
  const unsynced = createPool(config.DATABASE_URL, { ...pool, unsynced: true });
  await migrate(synced, `${import.meta.dirname}/migrations`);
  lookAtLog(metrics.looks, unsynced);

  const decisions = createDecisionLog({ synced, unsynced }, name);
  const { participants, orderService, close } = createParticipants(config);
  const onFired = (point: string, action: FaultAction) => {
    metrics.faults.inc({ point, action });
    log.warn({ point, action }, 'injected fault fired');
  };
  const faults = createFaults(config, onFired, onTrouble);
  const running = new Set<string>();
  const aftermath = createAftermath(onTrouble);
  const tools: TransactionTools = {
    log: decisions,
    participants,
    injector: faults.injector,
    running,
    answersFor: () => [],
    afterwards: aftermath.add,
    onEnded(mode: TwoPhaseMode, ended: Ended, orders: number) {
      metrics.transactions.inc({ mode, outcome: ended.state });
      metrics.groupSize.observe({ mode }, orders);
    },
    onTrouble,
  };
  const queues = createQueues({ tools, transactionsMax: config.TRANSACTIONS_MAX, answerOf });
  const testimony = createTestimony({
    log: decisions,
    participants,
    onTrouble,
    onLost(lost) {
      metrics.lostDecisions.set(lost.size);
      tellLost(log, lost);
    },
  });
  const recovery = createRecovery({
    log: decisions,
    participants,
    running,
    coordinator: name,
    abortableIn: testimony.abortableIn,
    onTrouble,
    onRecovered: (decision) => metrics.recovered.inc({ decision }),
  });

  const app = createHttp({
    logger: log,
    async health() {
      const database = await synced.query('select 1').then(
        () => 'up',
        (error: Error) => `down: ${error.message}`,
      );
      return { ready: database === 'up', detail: { database, decisionLog: testimony.detail() } };
    },
    metrics: metrics.looks.metrics,
  });
  if (config.FAULTS) strikeRequests(app, 'coordinator', faults.injector);
  routes(app, {
    faultsOn: config.FAULTS,
    menu: createFresh(menuFreshMsMax, () => readMenu(orderService)),
    log: decisions,
    recovery,
    submit: queues.submit,
    bar: (orderId) => barOrder(orderService, orderId),
    placing: new Map(),
    onTrouble,
    onAnswered: metrics.countOrder,
  });
  await app.listen({ host: config.SERVICE_HOST, port: config.SERVICE_PORT });
  log.info({ port: config.SERVICE_PORT, name }, 'ready');

  stopOnSignal(log, [
    // First, because it ends what hangs, and all that follows would wait for that.
    () => faults.stop(),
    () => app.close(),
    () => aftermath.settled(aftermathMsMax),
    () => recovery.stop(),
    () => testimony.stop(),
    () => close(),
    () => unsynced.end(),
    () => synced.end(),
  ]);
}

const toldMax = 20;

function tellLost(log: Logger, lost: Lost): void {
  const transactions = [...lost.values()].slice(0, toldMax);
  if (lost.size === 0) log.warn('the decision log has everything again that participants have committed');
  else
    log.error(
      { lost: lost.size, transactions },
      'the decision log has lost decisions: see docs/operations.md',
    );
}

/** What an order is answered with, kept beside the decision. */
function answerOf(order: BranchOrder, transactionId: string, ended: Ended) {
  const reason = ended.refused.get(order.orderId) ?? null;
  return {
    orderId: order.orderId,
    transactionId,
    outcome: reason === null ? ('done' as const) : ('refused' as const),
    reason,
    bodyHash: order.bodyHash,
    attempt: order.attempt,
    answer: finishedOrder(order, ended),
  };
}

/** What orders carry, at once; what is set from outside, as soon as the broker is found. */
function createFaults(
  config: CoordinatorConfig,
  onFired: (point: string, action: FaultAction) => void,
  onTrouble: (error: unknown, what: string) => void,
) {
  const carried = carriedFaults(onFired);
  let injector: Injector = carried;
  let stop = async () => {};
  if (config.FAULTS) {
    const options = { url: config.NATS_URL, name: 'coordinator', monitorUrl: undefined, unsafe: true };
    const watch = async () => {
      const connection = await connectNats(options);
      stop = () => connection.drain();
      injector = await createInjectorFor(connection, true, onFired);
    };
    watch().catch((error) => onTrouble(error, 'faults set from outside are not heard'));
  }
  return {
    injector: () => injector,
    async stop() {
      carried.stop();
      injector.stop();
      await stop();
    },
  };
}

/** From the order service, whose it is. */
async function readMenu(orderService: Replicas): Promise<Menu> {
  try {
    // A read: any replica has it, and may be asked again.
    const asked = { method: 'GET', path: '/menu', repeat: 'always', withinMs: menuMsMax } as const;
    const { status, body } = await orderService.request(asked);
    if (status !== 200) throw new Error(`the order service answered ${status}`);
    const { prices, cities } = JSON.parse(body.toString()) as MenuAnswer;
    return { prices: new Map(prices), cities: new Set(cities) };
  } catch (cause) {
    throw new Problem('service-unavailable', 'the menu cannot be read', { cause });
  }
}

/** Not answered as refused before it is: the client may use its key for the saga next. */
async function barOrder(orderService: Replicas, orderId: string): Promise<void> {
  try {
    const path = `/orders/${orderId}/bar`;
    // A bar that is there already is left as it is, so the next replica may be told the same.
    const asked = { method: 'POST', path, repeat: 'always', withinMs: barMsMax } as const;
    const { status } = await orderService.request(asked);
    if (status !== 204) throw new Error(`the order service answered ${status}`);
  } catch (cause) {
    const detail = 'the order was refused, but the order service cannot note it; ask again';
    throw new Problem('service-unavailable', detail, { cause });
  }
}
