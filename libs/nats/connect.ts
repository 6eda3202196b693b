/** One connection per process, for ever: it reconnects until the process is told to stop. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { readNatsUrl } from './address.ts';
import { durabilityFlaw } from './durability.ts';

export type NatsOptions = {
  /** With user and password, see address.ts. */
  url: string;
  name: string;
  /** The broker's monitoring address, or those of all its nodes: its durability is read there. */
  monitorUrl: string | undefined;
  /** Accepts a broker that may lose acknowledged messages in a power cut. */
  unsafe: boolean;
};

const pingEveryMs = 2_000;

export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const connection = await connect({
    ...readNatsUrl(options.url),
    name: options.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
    // A node that stands still keeps its connections open: after three pings without an answer, the next node.
    pingInterval: pingEveryMs,
    maxPingOut: 2,
  });
  if (!options.unsafe) {
    const flaw = await durabilityFlaw(connection.info?.version ?? '0', options.monitorUrl);
    if (flaw) {
      await connection.close();
      throw new Error(`${flaw}. Set NATS_UNSAFE=1 to use this broker all the same.`);
    }
  }
  return connection;
}
