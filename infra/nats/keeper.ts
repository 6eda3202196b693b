/**
 * Keeps what provision.ts makes: a stream or consumer that is gone is made again, and a consumer that stands beyond
 * the end of its stream, because the stream was rolled back, begins anew at its start. No service may do that; each
 * one's journal recognises what it has handled. It also takes old hits out of the bucket of faults (fault-hits.ts).
 * The launcher runs it, and so does a container of its own:
 * `node infra/nats/keeper.ts` reads what provision.ts reads, and SERVICE_PORT for /readyz and /metrics.
 */
import { createServer } from 'node:http';
import { JetStreamApiError, type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { readNatsUrl } from '#libs/nats/address.ts';
import { consumerFault, consumerMissing } from '#libs/nats/looking.ts';
import { eventStream, faultStreamConfig, streams } from '#libs/nats/streams.ts';
import { repeat } from '#libs/step/repeat.ts';
import { forgetHits } from './fault-hits.ts';
import { ensureAll, type ProvisionOptions, readConsumers, readEnvironment } from './provision.ts';

const lookEveryMs = 2_000;
/** Ten minutes. */
const forgetEveryLooks = 300;
const answerWithinMs = 3_000;
/** Without a look that succeeded in so long it is not ready. */
const blindMsMax = 15_000;

export type Keeper = {
  /** How often something was made again. */
  repairs(): number;
  /** Whether it sees the broker. */
  isReady(): boolean;
  stop(): Promise<void>;
};

export type KeeperOptions = ProvisionOptions & { now?(): Date };

/** Goes on for ever, whatever becomes of the broker. `say` hears of every repair. */
export async function keepBroker(options: KeeperOptions): Promise<Keeper> {
  const { url, replicas, say = () => {}, now = () => new Date() } = options;
  const connection = await connect({
    ...readNatsUrl(url),
    name: 'keeper',
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
  });
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: answerWithinMs });
  let repairs = 0;
  let seenAtMs = Number.NEGATIVE_INFINITY;
  let trouble = '';
  let looks: Promise<void> = Promise.resolve();

  let suspects: readonly string[] = [];

  const look = async () => {
    const found = await findFaults(manager);
    // A node of a cluster that has just come to lead may not know yet all that it has: it is asked twice.
    const faults = found.filter(
      ({ what, consumer }) => !consumer || replicas === 1 || suspects.includes(what),
    );
    suspects = found.map(({ what }) => what);
    for (const { consumer } of faults) if (consumer) await manager.consumers.delete(eventStream, consumer);
    if (faults.length > 0) await ensureAll(manager, replicas);
    for (const { what, fault } of faults) say(`the keeper made ${what} again: ${fault}`);
    repairs += faults.length;
    seenAtMs = performance.now();
    trouble = '';
  };

  /** One after another. What goes wrong is said once, and tried again. */
  const lookNext = (): Promise<void> => {
    looks = looks.then(look).catch((error: Error) => {
      if (error.message !== trouble) say(`the keeper cannot look: ${error.message}`);
      trouble = error.message;
    });
    return looks;
  };

  const listen = async () => {
    // At once, before the services publish: they wait for a moment after a reconnection (libs/step/stream-watch.ts).
    for await (const { type } of connection.status()) if (type === 'reconnect') void lookNext();
  };
  void listen();
  let looked = 0;
  const looking = repeat({
    pauseMs: lookEveryMs,
    async work() {
      await lookNext();
      if (looked % forgetEveryLooks === 0) await forgetHits(manager, now());
      looked += 1;
    },
    // A broker that is away, or has no bucket: the looks say so.
    onTrouble: () => {},
  });

  return {
    repairs: () => repairs,
    isReady: () => performance.now() - seenAtMs < blindMsMax,
    async stop() {
      await connection.close();
      await looking.stop();
      await looks;
    },
  };
}

/** `consumer`: to be deleted before it is made again. */
type Fault = { what: string; fault: string; consumer?: string };

async function findFaults(manager: JetStreamManager): Promise<Fault[]> {
  const faults: Fault[] = [];
  for (const { name } of [...streams, faultStreamConfig]) {
    if (!(await isThere(manager, name))) faults.push({ what: `the stream ${name}`, fault: 'it was missing' });
  }
  // Its consumers went with it, and are made with it.
  if (faults.some(({ what }) => what.endsWith(eventStream))) return faults;
  for (const consumer of Object.keys(readConsumers())) {
    const fault = await consumerFault(manager, consumer);
    const what = `the consumer ${consumer}`;
    if (fault === consumerMissing) faults.push({ what, fault: 'it was missing' });
    else if (fault) faults.push({ what, fault: `it ${fault}`, consumer });
  }
  return faults;
}

const streamNotFound = 10059;

async function isThere(manager: JetStreamManager, stream: string): Promise<boolean> {
  try {
    await manager.streams.info(stream);
    return true;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return false;
    throw error;
  }
}

/** For probes and for Prometheus; without the libraries of a service, which are larger than all of this. */
function serve(keeper: Pick<Keeper, 'isReady' | 'repairs'>, port: number, host: string): void {
  createServer((request, response) => {
    const ready = keeper.isReady();
    if (request.url === '/metrics') {
      const help = '# HELP saga_keeper_repairs_total Streams and consumers that the keeper made again';
      const type = '# TYPE saga_keeper_repairs_total counter';
      response.end(`${help}\n${type}\nsaga_keeper_repairs_total{service="keeper"} ${keeper.repairs()}\n`);
    } else if (request.url === '/readyz' || request.url === '/livez') {
      response.statusCode = ready || request.url === '/livez' ? 200 : 503;
      response.end(JSON.stringify({ ready }));
    } else response.writeHead(404).end();
  }).listen(port, host);
}

if (import.meta.main) {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const { SERVICE_PORT = '8080', SERVICE_HOST = '127.0.0.1' } = process.env;
  let keeper: Keeper | undefined;
  // Before it has found the broker, which may take long: it is alive, and not ready.
  const page = { isReady: () => keeper?.isReady() ?? false, repairs: () => keeper?.repairs() ?? 0 };
  serve(page, Number(SERVICE_PORT), SERVICE_HOST);
  keeper = await keepBroker({ ...readEnvironment(say), say });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void keeper?.stop().finally(() => process.exit(0)));
  }
}
