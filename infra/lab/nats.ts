import { mkdir, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import type { PartSpec } from './supervisor.ts';
import { natsPart } from './topology.ts';
import { dyingWithLauncher } from './user.ts';

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
jetstream {
  store_dir: ${JSON.stringify(store)}
  sync_interval: always
  max_memory_store: 64MB
}
`;

export async function natsServer(
  home: string,
  binary: string,
  port: number,
  monitorPort: number,
): Promise<PartSpec> {
  const directory = join(home, 'nats');
  await mkdir(directory, { recursive: true });
  const file = join(directory, 'nats.conf');
  await writeFile(file, configuration(port, monitorPort, join(directory, 'store')));
  const [command = binary, ...args] = [...dyingWithLauncher('SIGTERM'), binary, '--config', file];
  return {
    name: natsPart,
    kind: 'nats',
    port,
    command,
    args,
    env: { PATH: process.env.PATH ?? '' },
    cwd: '/',
    stopSignal: 'SIGTERM',
    isReady: () => isOk(`http://127.0.0.1:${monitorPort}/healthz`),
  };
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
