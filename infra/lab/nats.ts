import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, rename, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from './errors.ts';
import type { PartSpec } from './supervisor.ts';
import { type NatsNode, repository } from './topology.ts';
import { dyingWithLauncher } from './user.ts';

/** Who may do what: the lab runs with faults on. */
const usersFile = join(repository, 'infra/nats/users-faults.conf');
/** As in that file. */
const streamAccount = 'DATA';
const provisionFile = join(repository, 'infra/nats/provision.ts');
const provisionWithinMs = 90_000;
const run = promisify(execFile);

const healthWithinMs = 1_000;

/**
 * The configuration of the broker. `sync_interval: always` makes an acknowledged message durable: without
 * it the server syncs every two minutes, and a power cut takes the tail of the stream away.
 */
const configuration = (
  { name, port, monitorPort }: NatsNode,
  store: string,
  cluster: string,
): string => `# Written by the lab at every start.
server_name: ${cluster === '' ? 'saga-lab' : name}
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitorPort}"
max_payload: 1MB
include "users.conf"
jetstream {
  store_dir: ${JSON.stringify(store)}
  sync_interval: always
  max_memory_store: 64MB
}
${cluster}`;

/** Nobody but the nodes themselves may join: what a node is told by another one it believes. */
const clusterOf = (
  node: NatsNode,
  nodes: readonly NatsNode[],
  password: string,
  isLinked = false,
): string => `cluster {
  name: saga-lab
${isLinked ? '  no_advertise: true\n' : ''}  listen: "127.0.0.1:${node.routePort}"
  authorization { user: route, password: "${password}", timeout: 2 }
  routes: [${nodes.map(({ routePort }) => `"nats-route://route:${password}@127.0.0.1:${routePort}"`).join(', ')}]
}
`;

export type NatsServersOptions = {
  home: string;
  binary: string;
  /** One broker alone, or a cluster. */
  nodes: readonly NatsNode[];
  /** By user. They reach the server by its environment, and stand in no file but the lab's passwords. */
  passwords: Record<string, string>;
  /** Clients come by links: they must not be told the addresses of the nodes themselves. */
  isLinked?: boolean;
};

export async function natsServers(options: NatsServersOptions): Promise<PartSpec[]> {
  const { home, nodes } = options;
  const directory = join(home, 'nats');
  await mkdir(directory, { recursive: true });
  await keepNodes(directory, nodes.length);
  await keepStreams(directory, nodes.length);
  const password = randomBytes(18).toString('hex');
  return Promise.all(
    nodes.map((node, index) => {
      const cluster = nodes.length === 1 ? '' : clusterOf(node, nodes, password, options.isLinked);
      const own = index === 0 ? directory : join(directory, node.name);
      return natsServer(node, { ...options, directory: own, cluster });
    }),
  );
}

type NatsServerOptions = Pick<NatsServersOptions, 'binary' | 'passwords'> & {
  directory: string;
  /** Empty for a broker alone. */
  cluster: string;
};

async function natsServer(node: NatsNode, options: NatsServerOptions): Promise<PartSpec> {
  const { directory, cluster, binary, passwords } = options;
  const { name, port, monitorPort } = node;
  await mkdir(directory, { recursive: true });
  const file = join(directory, 'nats.conf');
  await copyFile(usersFile, join(directory, 'users.conf'));
  await writeFile(file, configuration(node, join(directory, 'store'), cluster), { mode: 0o600 });
  const [command = binary, ...args] = [...dyingWithLauncher('SIGTERM'), binary, '--config', file];
  return {
    name,
    kind: 'nats',
    port,
    command,
    args,
    env: { PATH: process.env.PATH ?? '', ...passwordVariables(passwords) },
    cwd: '/',
    stopSignal: 'SIGTERM',
    // A node of a cluster says no until it has found a leader, and again until it has caught up.
    isReady: () => isOk(`http://127.0.0.1:${monitorPort}/healthz`),
  };
}

/** As users.conf names them. */
const passwordVariables = (passwords: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(passwords).map(([user, password]) => [`${user.toUpperCase()}_NATS_PASSWORD`, password]),
  );

/** In a process of its own: what it loads would stay in the launcher, which has no more use for it. */
export async function provision(url: string, replicas: number): Promise<void> {
  try {
    await run(process.execPath, [provisionFile], {
      timeout: provisionWithinMs,
      env: {
        PATH: process.env.PATH ?? '',
        NODE_COMPILE_CACHE: join(repository, 'node_modules', '.cache', 'saga-lab'),
        NATS_URL: url,
        NATS_REPLICAS: String(replicas),
      },
    });
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    const reason = stderr.trim().split('\n').at(-1) || message;
    throw new LabError('broker-refused', `NATS: ${reason}`, { cause: error });
  }
}

export type BrokerKeeper = { stop(): Promise<void> };

/** Loaded when there is a broker to keep; in the launcher's process, because one of its own would cost four times as much. */
export async function keep(
  url: string,
  replicas: number,
  say: (line: string) => void,
): Promise<BrokerKeeper> {
  const { keepBroker } = await import('../nats/keeper.ts');
  return keepBroker({ url, replicas, say });
}

/** What a broker alone has stored no cluster knows of, and deletes; the other way round it would be lost as well. */
async function keepNodes(directory: string, nodes: number): Promise<void> {
  const file = join(directory, 'nodes');
  const before = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 1;
  const isUsed = existsSync(join(directory, 'store'));
  if (isUsed && before !== nodes) {
    const text = `The broker of this home has ${before} node${before === 1 ? '' : 's'}, and its messages stay with them.`;
    throw new LabError('home-other-broker', `${text} Start with --fresh, or in another --home.`);
  }
  await writeFile(file, String(nodes));
}

/**
 * Older versions had all users in one account, which the broker calls $G. A broker alone finds its streams again
 * under the account that has them now; the nodes of a cluster have agreed on the account as well, and would not.
 */
async function keepStreams(directory: string, nodes: number): Promise<void> {
  const store = join(directory, 'store', 'jetstream');
  const before = join(store, '$G');
  const now = join(store, streamAccount);
  if (!existsSync(before) || existsSync(now)) return;
  if (nodes > 1) {
    const text = 'The broker of this home is a cluster of an older version, and its messages stay with that.';
    throw new LabError('home-other-broker', `${text} Start with --fresh, or in another --home.`);
  }
  await rename(before, now);
}

/** Whether an address answers 200 now. `fetch` would do; the launcher, which asks all day, does not load its 11 MB. */
export function isOk(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    // Refused, reset, or too slow: each means "not yet", and the caller has the bound.
    const request = get(url, { signal: AbortSignal.timeout(healthWithinMs), agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}
