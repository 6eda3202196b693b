/** A broker that can be killed and started again: a container, or embedded by the launcher's own means. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOk, natsServers } from '#lab/nats.ts';
import { findBroker } from '#lab/nats-binary.ts';
import { Supervisor } from '#lab/supervisor.ts';
import { repository } from '#lab/topology.ts';
import { adminName, brokerUsers, passwordVariable } from '../../infra/nats/users.ts';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';

export type BrokerServer = {
  urlOf(user: string): string;
  adminUrl: string;
  monitorUrl: string;
  /** SIGKILL, and started again on the same data and ports. */
  crash(): Promise<void>;
  /** Of the embedded one: with its store, while it is down. */
  whileDown?(work: (store: string) => void): Promise<void>;
  remove(): Promise<void>;
};

export const embedded = "the lab's embedded broker";

/** `source`: an image, or the embedded one. */
export async function startBrokerServer(source: string): Promise<BrokerServer> {
  const [port, monitorPort] = await Promise.all([freePort(), freePort()]);
  // A password that stands in a variable must begin with a letter (infra/nats/users.conf).
  const names = brokerUsers.map(({ name }) => [name, `p${randomBytes(12).toString('hex')}`] as const);
  const passwords = Object.fromEntries(names);
  const urlOf = (user: string) => `nats://${user}:${passwords[user]}@127.0.0.1:${port}`;
  const addresses = { urlOf, adminUrl: urlOf(adminName), monitorUrl: `http://127.0.0.1:${monitorPort}` };
  const start = source === embedded ? startProcess : startContainer;
  return { ...addresses, ...(await start({ source, port, monitorPort, passwords })) };
}

type Start = { source: string; port: number; monitorPort: number; passwords: Record<string, string> };
type Handle = Pick<BrokerServer, 'crash' | 'whileDown' | 'remove'>;

async function startProcess({ port, monitorPort, passwords }: Start): Promise<Handle> {
  const found = await findBroker({ env: { ...process.env, NATS_URL: undefined }, say: () => {} });
  if (found.kind !== 'binary') throw new Error('no broker to start');
  const home = mkdtempSync(join(tmpdir(), 'saga-broker-'));
  for (const each of ['logs', 'run']) mkdirSync(join(home, each));
  const node = { name: 'nats', port, monitorPort, routePort: 0 };
  const [spec] = await natsServers({ home, binary: found.path, nodes: [node], passwords });
  if (spec === undefined) throw new Error('the broker has no specification');
  const supervisor = new Supervisor(spec, { home, say: () => {}, onChange: () => {} });
  await supervisor.start();
  return {
    async crash() {
      await supervisor.kill('SIGKILL', true);
      await supervisor.start();
    },
    async whileDown(work) {
      await supervisor.kill('SIGKILL', true);
      work(join(home, 'nats/store'));
      await supervisor.start();
    },
    async remove() {
      await supervisor.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const clientPort = 4222;
const containerMonitorPort = 8222;
/** As the lab writes it (infra/lab/nats.ts), with the addresses of a container. */
const configuration = `
http: ${containerMonitorPort}
max_payload: 1MB
include "users.conf"
jetstream {
  store_dir: "/data"
  sync_interval: always
}
`;

async function startContainer({ source, port, monitorPort, passwords }: Start): Promise<Handle> {
  const { GenericContainer, getContainerRuntimeClient, Wait } = await import('testcontainers');
  const users = readFileSync(join(repository, 'infra/nats/users-faults.conf'), 'utf8');
  const variables = Object.entries(passwords).map(([user, value]) => [passwordVariable(user), value]);
  const started = await new GenericContainer(source)
    .withEnvironment(Object.fromEntries(variables))
    .withCopyContentToContainer([
      { content: configuration, target: '/etc/saga/nats.conf' },
      { content: users, target: '/etc/saga/users.conf' },
    ])
    .withCommand(['--config', '/etc/saga/nats.conf'])
    // Named, so that clients find it again after the crash.
    .withExposedPorts(
      { container: clientPort, host: port },
      { container: containerMonitorPort, host: monitorPort },
    )
    .withWaitStrategy(Wait.forHttp('/healthz', containerMonitorPort))
    .start();
  const { container: client } = await getContainerRuntimeClient();
  const container = client.getById(started.getId());
  return {
    async crash() {
      await container.kill();
      await client.start(container);
      await eventually('the broker answers again', () => isOk(`http://127.0.0.1:${monitorPort}/healthz`));
    },
    async remove() {
      await started.stop();
    },
  };
}
