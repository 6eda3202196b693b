import { execFile } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from './errors.ts';
import type { PartSpec } from './supervisor.ts';
import { natsPart, repository } from './topology.ts';
import { dyingWithLauncher } from './user.ts';

/** Who may do what: the lab runs with faults on. */
const usersFile = join(repository, 'infra/nats/users-faults.conf');
const provisionFile = join(repository, 'infra/nats/provision.ts');
const provisionWithinMs = 90_000;
const run = promisify(execFile);

const healthWithinMs = 1_000;

/**
 * The configuration of the broker. `sync_interval: always` makes an acknowledged message durable: without
 * it the server syncs every two minutes, and a power cut takes the tail of the stream away.
 */
const configuration = (
  port: number,
  monitorPort: number,
  store: string,
): string => `# Written by the lab at every start.
server_name: saga-lab
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitorPort}"
max_payload: 1MB
include "users.conf"
jetstream {
  store_dir: ${JSON.stringify(store)}
  sync_interval: always
  max_memory_store: 64MB
}
`;

export type NatsServerOptions = {
  home: string;
  binary: string;
  port: number;
  monitorPort: number;
  /** By user. They reach the server by its environment, and stand in no file but the lab's passwords. */
  passwords: Record<string, string>;
};

export async function natsServer(options: NatsServerOptions): Promise<PartSpec> {
  const { home, binary, port, monitorPort, passwords } = options;
  const directory = join(home, 'nats');
  await mkdir(directory, { recursive: true });
  const file = join(directory, 'nats.conf');
  await copyFile(usersFile, join(directory, 'users.conf'));
  await writeFile(file, configuration(port, monitorPort, join(directory, 'store')));
  const [command = binary, ...args] = [...dyingWithLauncher('SIGTERM'), binary, '--config', file];
  return {
    name: natsPart,
    kind: 'nats',
    port,
    command,
    args,
    env: { PATH: process.env.PATH ?? '', ...passwordVariables(passwords) },
    cwd: '/',
    stopSignal: 'SIGTERM',
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
