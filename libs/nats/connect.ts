/** One connection per process, for ever: it reconnects until the process is told to stop. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { readNatsUrl } from './address.ts';

export type NatsOptions = {
  /** With user and password, see address.ts. */
  url: string;
  name: string;
  /** The broker's monitoring address, from which its durability is read. */
  monitorUrl: string | undefined;
  /** Accepts a broker that may lose acknowledged messages in a power cut. */
  unsafe: boolean;
};

export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const connection = await connect({
    ...readNatsUrl(options.url),
    name: options.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
    pingInterval: 10_000,
  });
  if (!options.unsafe) {
    const flaw = await durabilityFlaw(connection, options.monitorUrl);
    if (flaw) {
      await connection.close();
      throw new Error(`${flaw}. Set NATS_UNSAFE=1 to use this broker all the same.`);
    }
  }
  return connection;
}

const monitorTimeoutMs = 3_000;

/**
 * Why this broker may lose what it has acknowledged, or null. By default JetStream acknowledges before it
 * syncs and syncs every two minutes, so a power cut loses acknowledged writes (Jepsen, NATS 2.12.1).
 */
async function durabilityFlaw(
  connection: NatsConnection,
  monitorUrl: string | undefined,
): Promise<string | null> {
  const version = connection.info?.version ?? '0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 2 || (major === 2 && minor < 10)) return `NATS ${version} is too old: 2.10 or newer is needed`;
  if (!monitorUrl) return 'NATS_MONITOR_URL is not set, so the sync_interval of the broker cannot be checked';
  const response = await fetch(new URL('/varz', monitorUrl), {
    signal: AbortSignal.timeout(monitorTimeoutMs),
  });
  const varz = (await response.json()) as { jetstream?: { config?: { sync_always?: boolean } } };
  if (varz.jetstream?.config?.sync_always === true) return null;
  return 'the broker does not run with jetstream { sync_interval: always }, so it acknowledges before it is durable';
}
