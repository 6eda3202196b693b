/** What a service reads of its database and of its consumer for /metrics. Cheap: each answers from an index. */
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type pg from 'pg';
import { eventStream } from '#libs/nats/streams.ts';
import { attemptsMax } from '#libs/step/failures.ts';
import type { Looks } from './looks.ts';

/** Counting stops here: beyond it the answer is "too many" all the same. */
const rowsMax = 20_000;

const databaseText = `
  select
    (select count(*) from (select 1 from outbox where published_at is null limit $1) as waiting)::int as depth,
    (select greatest(0, extract(epoch from clock_timestamp() - min(created_at)))
       from outbox where published_at is null)::float8 as age,
    (select count(*) from pg_prepared_xacts where database = current_database())::int as prepared,
    (select greatest(0, extract(epoch from clock_timestamp() - min(prepared)))
       from pg_prepared_xacts where database = current_database())::float8 as "preparedAge",
    (select count(*) from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock')::int as "lockWaits"`;

type DatabaseRow = {
  depth: number;
  age: number | null;
  prepared: number;
  preparedAge: number | null;
  lockWaits: number;
};

/** Ages are 0 while there is nothing that could be old. */
export function lookAtDatabase(looks: Looks, pool: pg.Pool): void {
  const help = {
    saga_outbox_unpublished: `Messages that are not marked as published, counted up to ${rowsMax}`,
    saga_outbox_oldest_seconds: 'Age of the oldest of them; a healthy service marks within a second',
    saga_in_doubt_branches: 'Transactions that stand prepared here; a healthy one does for milliseconds',
    saga_in_doubt_oldest_seconds: 'Age of the oldest of them',
    saga_lock_waits: 'Sessions that wait for a lock at this moment',
  };
  looks.add('database', help, async () => {
    const { rows } = await pool.query<DatabaseRow>({ name: 'look', text: databaseText, values: [rowsMax] });
    const [row] = rows;
    return {
      saga_outbox_unpublished: row?.depth ?? null,
      saga_outbox_oldest_seconds: row?.age ?? 0,
      saga_in_doubt_branches: row?.prepared ?? null,
      saga_in_doubt_oldest_seconds: row?.preparedAge ?? 0,
      saga_lock_waits: row?.lockWaits ?? null,
    };
  });
}

/** Every replica of a service tells the same: take the highest, not the sum. */
export function lookAtConsumer(looks: Looks, connection: NatsConnection, durable: string): void {
  const help = {
    saga_consumer_pending: 'Messages for this service that the broker has not delivered yet',
    saga_consumer_ack_pending: 'Messages delivered to this service and not acknowledged',
  };
  // Without its check, which asks for more than a service may.
  const manager = jetstreamManager(connection, { checkAPI: false });
  looks.add('consumer', help, async () => {
    const { num_pending, num_ack_pending } = await (await manager).consumers.info(eventStream, durable);
    return { saga_consumer_pending: num_pending, saga_consumer_ack_pending: num_ack_pending };
  });
}

const failuresText = `
  select
    (select count(*) from (select 1 from failures where state = 'open' limit $1) as letters)::int as letters,
    (select count(*) from failures
       where state = 'retrying' and direction = 'undo' and attempts >= $2)::int as stuck`;

/** Every replica of a service tells the same: take the highest, not the sum. */
export function lookAtFailures(looks: Looks, pool: pg.Pool): void {
  const help = {
    saga_dead_letters_open: `Dead letters that nobody has replayed or discarded, counted up to ${rowsMax}`,
    saga_undos_stuck: 'Undos that have failed more often than they should, and are retried for ever',
  };
  looks.add('failures', help, async () => {
    const { rows } = await pool.query<{ letters: number; stuck: number }>({
      name: 'look-failures',
      text: failuresText,
      values: [rowsMax, attemptsMax],
    });
    return { saga_dead_letters_open: rows[0]?.letters ?? null, saga_undos_stuck: rows[0]?.stuck ?? null };
  });
}
