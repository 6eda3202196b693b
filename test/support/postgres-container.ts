/** One PostgreSQL server in a container, for the same tests as the embedded one. */
import { PostgreSqlContainer } from '@testcontainers/postgresql';
import { getContainerRuntimeClient } from 'testcontainers';
import { accepts } from '#lab/postgres.ts';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';
import { postgresImage } from './infra.ts';
import type { PostgresServer } from './postgres-server.ts';

const postgresPort = 5432;
const stopWithinSeconds = 20;
/** As the lab's servers run (infra/lab/postgres.ts); what is not named here is PostgreSQL's default. */
const settings = {
  max_prepared_transactions: '128',
  max_connections: '120',
  shared_buffers: '32MB',
  max_wal_size: '1GB',
  checkpoint_timeout: '15min',
  timezone: 'UTC',
  log_timezone: 'UTC',
} as const;

export async function startPostgresContainer(): Promise<PostgresServer> {
  // A port that is named stays when the container starts again; one that the engine picks is another each time,
  // and the pools of the tests would look for the server at the old one.
  const port = await freePort();
  const flags = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const server = await new PostgreSqlContainer(postgresImage)
    .withUsername('postgres')
    .withDatabase('postgres')
    .withCommand(['postgres', ...flags])
    .withExposedPorts({ container: postgresPort, host: port })
    .start();
  const adminUrl = server.getConnectionUri();
  const { container: client } = await getContainerRuntimeClient();
  const container = client.getById(server.getId());
  return {
    adminUrl,
    // testcontainers offers neither without removing the container in between, and its own way to stop one kills
    // it, which takes what was committed without waiting for the disk. SIGINT, the image's stop signal, is
    // PostgreSQL's fast shutdown.
    stop: () => container.stop({ signal: 'SIGINT', t: stopWithinSeconds }),
    async start() {
      await client.start(container);
      await eventually('the database answers again', () => accepts(adminUrl));
    },
    async remove() {
      await server.stop();
    },
  };
}
