/** A service's database without its process: real tables, real reactions, and nothing that runs by itself. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { SagaEvent } from '#libs/contracts/events.ts';
import { migrate } from '#libs/postgres/migrate.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { runThenCommit, type Tx } from '#libs/postgres/transaction.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import type { OutboxMessage } from '#libs/step/outbox.ts';
import type { Cause, Reaction } from '#libs/step/reaction.ts';
import { type Intent, type Tools, transact, type Verdict } from '#libs/step/transact.ts';

export type World = {
  definition: ServiceDefinition;
  pool: pg.Pool;
  tools: Tools;
  /** Runs all of them in one transaction. */
  run(...intents: Intent[]): Promise<{ verdicts: Verdict[]; messages: OutboxMessage[] }>;
  intent(on: string, cause: Partial<Cause>, over?: Partial<Intent>): Intent;
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  [Symbol.asyncDispose](): Promise<void>;
};

const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`;

export async function openWorld(
  adminUrl: string,
  definition: ServiceDefinition,
  seed: string[] = [],
): Promise<World> {
  const database = `${definition.name}_${randomUUID().slice(0, 8)}`;
  await onServer(adminUrl, `create database ${database}`);
  // What a power cut would take is not looked at here; not waiting for the disk makes hundreds of runs quick.
  await onServer(adminUrl, `alter database ${database} set synchronous_commit = off`);
  const pool = createPool(adminUrl.replace(/postgres$/, database), {
    name: 'a test',
    purpose: 'steps',
    onError: () => {},
  });
  await migrate(pool, definition.migrations);
  for (const statement of seed) await pool.query(statement);
  const tools: Tools = {
    service: definition.name,
    now: () => new Date(),
    newId: randomUUID,
    traceFor: ({ cause: { traceparent } }) => ({ traceparent }),
  };
  return {
    definition,
    pool,
    tools,
    run: (...intents) => runThenCommit(pool, (tx: Tx) => transact(tx, intents, tools)),
    intent: (on, cause, over = {}) => ({
      reaction: reactionOf(definition, on),
      cause: someCause(cause),
      attempt: 1,
      ...over,
    }),
    async query<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) {
      return (await pool.query<Row>(text, values)).rows;
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

export function reactionOf(definition: ServiceDefinition, on: string): Reaction {
  const reaction = definition.reactions.find((row) => row.on === on);
  if (!reaction) throw new Error(`${definition.name} does not react to ${on}`);
  return reaction;
}

export const someCause = (over: Partial<Cause>): Cause => ({
  id: randomUUID(),
  orderId: randomUUID(),
  customerId: 'asha',
  dishIds: 'dosa',
  data: {},
  lamport: 1,
  traceparent,
  ...over,
});

export const causeOfEvent = (event: SagaEvent): Cause => ({
  id: event.id,
  orderId: event.subject,
  customerId: event.customerid,
  dishIds: event.dishids,
  data: event.data,
  lamport: event.lamport,
  traceparent: event.traceparent,
});

async function onServer(adminUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
