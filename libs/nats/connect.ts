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
/** Of a cluster: a node that stands still keeps its connections open; after three pings without an answer, the next node. */
const pingsUnansweredMax = 3;
/**
 * Of a broker alone there is no next one, and a new connection to the one that stands still only loses what the old one
 * has asked it for: those messages would come an ack wait later. Bounded, because a machine that is gone says no word.
 */
const pingsUnansweredAloneMax = 6;

export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const connection = await connect({
    ...readNatsUrl(options.url),
    name: options.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
    pingInterval: pingEveryMs,
    // The client gives up with the next ping.
    maxPingOut: pingsUnansweredAloneMax - 1,
  });
  void leaveStillNodes(connection);
  if (!options.unsafe) {
    const flaw = await durabilityFlaw(connection.info?.version ?? '0', options.monitorUrl);
    if (flaw) {
      await connection.close();
      throw new Error(`${flaw}. Set NATS_UNSAFE=1 to use this broker all the same.`);
    }
  }
  return connection;
}

/** Ends with the connection. */
async function leaveStillNodes(connection: NatsConnection): Promise<void> {
  for await (const status of connection.status()) {
    const isStill = status.type === 'ping' && status.pendingPings >= pingsUnansweredMax;
    if (!isStill || connection.info?.cluster === undefined || connection.isDraining()) continue;
    // It may be told to stop in this very moment.
    await connection.reconnect().catch(() => undefined);
  }
}
