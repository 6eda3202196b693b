/** A lab whose broker is made to forget: its store is put back, its stream purged, its consumers deleted. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';
import pg from 'pg';
import { type Lab, launchLab } from '#lab/launch.ts';
import type { Invariants } from '#libs/checker/check.ts';
import { readNatsUrl } from '#libs/nats/address.ts';
import { eventStream, streams } from '#libs/nats/streams.ts';
import { eventually } from './eventually.ts';
import { violated } from './invariants-found.ts';
import { type SteadyLoad, startLoad } from './steady-load.ts';

/** Whose events the stream holds. */
export const publishers = ['order', 'payment', 'inventory', 'logistics'] as const;
type Publisher = (typeof publishers)[number];

export type ForgetfulLab = Awaited<ReturnType<typeof launchForgetful>>;

const deadlineMs = 8_000;
const samplesEveryMs = 25;

export async function launchForgetful(portBase: number) {
  const home = mkdtempSync(join(tmpdir(), 'saga-forgetful-'));
  const said: string[] = [];
  const lab = await launchLab({
    home,
    portBase,
    gatewayPort: portBase,
    env: { ORDER_DEADLINE_MS: String(deadlineMs) },
    say: (line) => said.push(line),
  });
  const connection = await connect({
    ...readNatsUrl(lab.nats.url),
    name: 'a test',
    maxReconnectAttempts: -1,
    reconnectTimeWait: 20,
  });
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: 1_000 });
  return {
    lab,
    manager,
    said,
    ...storeOf(lab, home),
    ...stateOf(manager),
    ...servicesOf(lab, home, portBase),
    /** So that a repeat after this long is no repeat for the broker. */
    setDuplicateWindow: (ms: number) =>
      manager.streams.update(eventStream, { duplicate_window: nanos(ms) }).then(() => {}),
    resetDuplicateWindow: () =>
      manager.streams.update(eventStream, { duplicate_window: streams[0].duplicate_window }).then(() => {}),
    async close(keep: boolean) {
      await closeQuietly(connection);
      await lab.close();
      if (keep) process.stderr.write(`\nThe lab of the failed tests (data, logs) is kept in ${home}\n`);
      else rmSync(home, { recursive: true, force: true });
    },
  };
}

const closeQuietly = (connection: NatsConnection) => connection.close().catch(() => {});

/** The broker's files, while it is down. */
function storeOf(lab: Lab, home: string) {
  const store = join(home, 'nats/store');
  const copy = join(home, 'nats/older');
  /** Whatever the account is called. */
  const streamFolder = (root: string) => {
    const found = readdirSync(root, { recursive: true, encoding: 'utf8' });
    const folder = found.find((path) => path.endsWith(`streams/${eventStream}`));
    if (folder === undefined) throw new Error(`no stream in ${root}`);
    return join(root, folder);
  };
  const put = (from: string, to: string) => {
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true, preserveTimestamps: true });
  };
  const whileDown = async (act: () => void) => {
    await lab.stop('nats');
    act();
    await lab.start('nats');
  };
  return {
    /** Keeps what is there now, as a power cut would find it. */
    async keepCopy() {
      await lab.pause('nats');
      put(store, copy);
      await lab.resume('nats');
    },
    /** All of it as it was: stream, consumers, faults. */
    rollBack: () => whileDown(() => put(copy, store)),
    /** The messages as they were, the consumers as they are. */
    rollBackStream: () =>
      whileDown(() => put(join(streamFolder(copy), 'msgs'), join(streamFolder(store), 'msgs'))),
    /** One byte in the middle of the newest block, and the index without which the broker reads the block. */
    flipByte: () =>
      whileDown(() => {
        const messages = join(streamFolder(store), 'msgs');
        const blocks = readdirSync(messages).filter((name) => name.endsWith('.blk'));
        const newest = blocks.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).at(-1) ?? '';
        const block = readFileSync(join(messages, newest));
        block[block.length >> 1] = 0xff ^ (block[block.length >> 1] ?? 0);
        writeFileSync(join(messages, newest), block);
        rmSync(join(messages, 'index.db'), { force: true });
      }),
  };
}

function stateOf(manager: JetStreamManager) {
  const state = async () => (await manager.streams.info(eventStream)).state;
  return {
    state,
    /** Runs `act` and gives the lowest end of the stream that was seen meanwhile. */
    async lowestEnd(act: () => Promise<void>): Promise<number> {
      let lowest = Number.POSITIVE_INFINITY;
      const timer = setInterval(() => {
        state().then(
          ({ last_seq }) => {
            lowest = Math.min(lowest, last_seq);
          },
          () => {},
        );
      }, samplesEveryMs);
      await act();
      clearInterval(timer);
      return lowest;
    },
    async messageIdAt(sequence: number): Promise<string> {
      const message = await manager.streams.getMessage(eventStream, { seq: sequence });
      return message?.header?.get('Nats-Msg-Id') ?? '';
    },
    purge: async () => (await manager.streams.purge(eventStream)).purged,
    deleteConsumer: (name: string) => manager.consumers.delete(eventStream, name),
    consumer: (name: string) => manager.consumers.info(eventStream, name),
  };
}

function servicesOf(lab: Lab, home: string, portBase: number) {
  const portOf = { order: 1, payment: 2, inventory: 3, logistics: 4 } as const;
  const ask = async (service: Publisher, path: string) =>
    (await fetch(`http://127.0.0.1:${portBase + portOf[service]}${path}`)).text();
  const forgottenOf = async (service: Publisher) =>
    Number(/^saga_outbox_forgotten_total\S* (\d+)/m.exec(await ask(service, '/metrics'))?.[1] ?? Number.NaN);
  const invariants = async () =>
    (await (await fetch(`${lab.url}/api/invariants?quiet=true`)).json()) as Invariants;
  return {
    load: (): SteadyLoad => startLoad([lab.url], 4),
    readiness: async (service: Publisher) => JSON.parse(await ask(service, '/readyz')).detail,
    log: (service: Publisher) => readFileSync(join(home, 'logs', `${service}.log`), 'utf8'),
    /** Messages that the services found to be lost, in all. */
    async forgotten(): Promise<number> {
      const counts = await Promise.all(publishers.map(forgottenOf));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    async sql<Row extends pg.QueryResultRow>(service: Publisher, text: string): Promise<Row[]> {
      const client = new pg.Client({ connectionString: lab.databases[service]?.url });
      await client.connect();
      try {
        return (await client.query<Row>(text)).rows;
      } finally {
        await client.end();
      }
    },
    /** Waits until everything is at its end; what is violated then, if anything. */
    async violations() {
      let found: Invariants | undefined;
      await eventually(
        'the invariants hold',
        async () => {
          found = await invariants();
          return found.holds;
        },
        45_000,
      ).catch(() => undefined); // What is violated says more than "not in time".
      return found && violated(found);
    },
  };
}
