/**
 * Makes what stands on the broker: the streams, the durable consumer of each service, the bucket of the
 * faults. The one place that does, because no service may. Idempotent: run it after every change and
 * whenever in doubt. `node infra/nats/provision.ts` reads NATS_URL or NATS_URL_FILE (a user who may, such as
 * admin) and NATS_REPLICAS.
 */
import { readFileSync } from 'node:fs';
import {
  AckPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamConfig,
} from '@nats-io/jetstream';
import { connect, nanos } from '@nats-io/transport-node';
import { readNatsUrl } from '#libs/nats/address.ts';
import { ackWaitMs, eventStream, faultStreamConfig, messagesOpenMax, streams } from '#libs/nats/streams.ts';

export type ProvisionOptions = {
  /** With the user and password of somebody who may do everything in JetStream. */
  url: string;
  /** Copies of every stream: 1, or 3 on a cluster. */
  replicas: number;
  /** Hears what it is still waiting for, once per change. */
  say?: (line: string) => void;
};

/** A broker that starts, or a cluster that looks for its leader, is waited for. */
const withinMs = 60_000;
const pauseMs = 250;
const connectWithinMs = 3_000;

/** Throws the last refusal when the broker is not provisioned in time. */
export async function provisionBroker(options: ProvisionOptions): Promise<void> {
  const deadline = Date.now() + withinMs;
  let said = '';
  for (;;) {
    try {
      return await provisionOnce(options);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      if (isFinal(cause) || Date.now() > deadline) {
        throw new Error(`the broker cannot be provisioned: ${reason}`, { cause });
      }
      if (reason !== said) options.say?.(`the broker cannot be provisioned yet: ${reason}`);
      said = reason;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

async function provisionOnce({ url, replicas }: ProvisionOptions): Promise<void> {
  const connection = await connect({
    ...readNatsUrl(url),
    name: 'provision',
    timeout: connectWithinMs,
    reconnect: false,
  });
  try {
    await ensureAll(await jetstreamManager(connection, { checkAPI: false }), replicas);
  } finally {
    await connection.close();
  }
}

export async function ensureAll(manager: JetStreamManager, replicas: number): Promise<void> {
  for (const config of [...streams, faultStreamConfig]) {
    await ensureStream(manager, { ...config, subjects: [...config.subjects], num_replicas: replicas });
  }
  // Last, because it is what a service waits for.
  for (const [service, subjects] of Object.entries(readConsumers())) {
    await ensureConsumer(manager, service, subjects);
  }
}

const streamExistsWithOtherConfig = 10058;

async function ensureStream(manager: JetStreamManager, config: Partial<StreamConfig> & { name: string }) {
  try {
    await manager.streams.add(config);
  } catch (error) {
    if ((error as { code?: number }).code !== streamExistsWithOtherConfig) throw error;
    await manager.streams.update(config.name, config);
  }
}

/** Attempts are counted and bounded by the driver, not by the broker: a message must never be dropped here. */
async function ensureConsumer(manager: JetStreamManager, service: string, subjects: string[]): Promise<void> {
  await manager.consumers.add(eventStream, {
    durable_name: service,
    ack_policy: AckPolicy.Explicit,
    filter_subjects: subjects,
    ack_wait: nanos(ackWaitMs),
    max_deliver: -1,
    max_ack_pending: messagesOpenMax,
  });
}

/** Generated from the reactions of the services. */
export function readConsumers(): Record<string, string[]> {
  return JSON.parse(readFileSync(new URL('consumers.json', import.meta.url), 'utf8'));
}

/** A cluster whose nodes have not all been heard of yet. */
const noSuitablePeers = 10005;

/** Another try would meet the same refusal: a wrong password, or a configuration that this broker does not take. */
function isFinal(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return error.status < 500 && error.code !== noSuitablePeers;
  return error instanceof Error && /authorization|authentication|permissions? violation/i.test(error.message);
}

/** What `provision` and `keeper` are told by the environment; ends the process with one line when it is not enough. */
export function readEnvironment(say: (line: string) => void): Pick<ProvisionOptions, 'url' | 'replicas'> {
  const { NATS_URL, NATS_URL_FILE, NATS_REPLICAS = '1' } = process.env;
  const url = NATS_URL ?? (NATS_URL_FILE && readFileSync(NATS_URL_FILE, 'utf8').trim());
  const replicas = Number(NATS_REPLICAS);
  if (!url || !Number.isInteger(replicas) || replicas < 1) {
    say('environment: NATS_URL or NATS_URL_FILE is needed, and NATS_REPLICAS is a number of copies');
    process.exit(2);
  }
  return { url, replicas };
}

if (import.meta.main) {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  await provisionBroker({ ...readEnvironment(say), say }).catch((error: Error) => {
    say(error.message);
    process.exitCode = 1;
  });
}
