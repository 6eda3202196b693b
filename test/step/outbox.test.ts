import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Message } from '#libs/nats/publish.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { claimUnpublished, forgetPublished, type OutboxMessage } from '#libs/step/outbox.ts';
import { createOutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { startRelay } from '#libs/step/relay.ts';
import { payment } from '#services/payment/service.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment, [`insert into wallets values ('asha', 100000)`]);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox');
});
afterAll(() => world[Symbol.asyncDispose]());

const data = { city: 'pune', items: [{ dishId: 'dosa', quantity: 1 }], total: 1 };
/** So many messages in the outbox, one transaction each, as a crash after COMMIT would leave them. */
async function leave(count: number): Promise<OutboxMessage[]> {
  const left: OutboxMessage[] = [];
  for (let index = 0; index < count; index++) {
    const { messages } = await world.run(world.intent('order.placement.requested', { data }));
    left.push(...messages);
  }
  return left;
}
const unpublished = async () =>
  (await world.query<{ id: string }>('select message_id as id from outbox where published_at is null')).map(
    ({ id }) => id,
  );

/** A clock ahead of the rows, so that the relay's patience is over at once. */
const later = () => new Date(Date.now() + 60_000);
type Send = (message: Message) => Promise<void>;
/** Each message gets the next sequence. */
let sequence = 0;
const numbered = (send: Send) => async (message: Message) => {
  await send(message);
  return ++sequence;
};
const relayOver = (send: Send, now = later, troubles: string[] = [], losses = () => 0) =>
  startRelay({
    pool: world.pool,
    publish: numbered(send),
    now,
    losses,
    onRelayed: () => {},
    onTrouble: (_error, what) => troubles.push(what),
  });

describe('When messages were left unpublished', () => {
  test('then the relay publishes each, as it was written, and marks it', async () => {
    const left = await leave(5);
    const published: Message[] = [];
    const relay = relayOver(async (message) => {
      published.push(message);
    });
    await eventually('all are marked', async () => (await unpublished()).length === 0);
    await relay.stop();
    const facts = ({ messageId, subject, body }: Message) => ({ messageId, subject, body });
    const byId = (a: { messageId: string }, b: { messageId: string }) => (a.messageId < b.messageId ? -1 : 1);
    expect(published.map(facts).sort(byId)).toEqual(left.map(facts).sort(byId));
  });

  test('then a broker that refuses the first times gets them again, until it takes them', async () => {
    const left = await leave(3);
    const attempts = new Map<string, number>();
    const refusalsMax = 2;
    const relay = relayOver(async ({ messageId }) => {
      const attempt = (attempts.get(messageId) ?? 0) + 1;
      attempts.set(messageId, attempt);
      if (attempt <= refusalsMax) throw new Error('no answer');
    });
    await eventually('all are marked', async () => (await unpublished()).length === 0);
    await relay.stop();
    expect([...attempts.entries()].sort()).toEqual(
      left.map(({ messageId }) => [messageId, refusalsMax + 1]).sort(),
    );
  });

  test('then what a broker has said before it went away is not believed, and published once more', async () => {
    const [left] = await leave(1);
    const published: string[] = [];
    let losses = 0;
    const send = async ({ messageId }: Message) => {
      if (published.push(messageId) === 1) losses += 1;
    };
    const relay = relayOver(send, later, [], () => losses);
    await eventually('it is marked', async () => (await unpublished()).length === 0);
    await relay.stop();
    expect(published).toEqual([left?.messageId, left?.messageId]);
  });

  test('then one that the broker never takes holds up no other, and stays', async () => {
    const [poison, ...others] = await leave(4);
    const published: string[] = [];
    const relay = relayOver(async ({ messageId }) => {
      if (messageId === poison?.messageId) throw new Error('never');
      published.push(messageId);
    });
    await eventually('the others are marked', async () => (await unpublished()).length === 1);
    await relay.stop();
    expect(await unpublished()).toEqual([poison?.messageId]);
    expect(published.sort()).toEqual(others.map(({ messageId }) => messageId).sort());
  });

  test('F26: then two relays share them, and none is under way twice at the same time', async () => {
    const left = await leave(30);
    const underWay = new Set<string>();
    const published: string[] = [];
    let twice = 0;
    const slowMs = 40;
    const publish = async ({ messageId }: Message) => {
      if (underWay.has(messageId)) twice += 1;
      underWay.add(messageId);
      await new Promise((resolve) => setTimeout(resolve, slowMs));
      underWay.delete(messageId);
      published.push(messageId);
    };
    const relays = [relayOver(publish), relayOver(publish), relayOver(publish)];
    await eventually('all are marked', async () => (await unpublished()).length === 0);
    await Promise.all(relays.map((relay) => relay.stop()));
    expect(twice).toBe(0);
    expect(published.sort()).toEqual(left.map(({ messageId }) => messageId).sort());
  });

  test('then young ones are left to the process that wrote them', async () => {
    await leave(2);
    const now = Date.now();
    const claimed = (ms: number) =>
      runThenCommit(world.pool, (tx) => claimUnpublished(tx, new Date(ms), 2_000, 10)).then(
        (rows) => rows.length,
      );
    expect(await claimed(now)).toBe(0);
    expect(await claimed(now + 5_000)).toBe(2);
    // Written by a clock that has been set back since.
    expect(await claimed(now - 5_000)).toBe(2);
  });

  test('then a relay without its database goes on when it is back', async () => {
    const [left] = await leave(1);
    await world.query('alter table outbox rename to hidden');
    const troubles: string[] = [];
    const published: string[] = [];
    const relay = relayOver(async ({ messageId }) => void published.push(messageId), later, troubles);
    await eventually('it complains', () => troubles.length > 0);
    await world.query('alter table hidden rename to outbox');
    await eventually('it is published', () => published.length > 0);
    await relay.stop();
    expect(published).toEqual([left?.messageId]);
  });
});

describe('When a message is published right after its commit', () => {
  const publisherOver = (send: Send, troubles: string[] = []) =>
    createOutboxPublisher({
      pool: world.pool,
      publish: numbered(send),
      now: () => new Date(),
      onTrouble: (_error, what) => troubles.push(what),
    });

  test('then it is marked after a moment of quiet', async () => {
    const { messages } = await world.run(world.intent('order.placement.requested', { data }));
    const publisher = publisherOver(async () => {});
    await publisher.publish(messages);
    expect(await unpublished()).toHaveLength(1);
    await eventually('it is marked', async () => (await unpublished()).length === 0);
    await publisher.stop();
  });

  const enough = 16;

  test('then as soon as they are some they are marked by the next transaction', async () => {
    const messages = await leave(enough);
    const publisher = publisherOver(async () => {});
    await publisher.publish(messages.slice(1));
    await runThenCommit(world.pool, async (tx) => publisher.markPublished(tx));
    expect(await unpublished()).toHaveLength(enough);
    await publisher.publish(messages.slice(0, 1));
    await runThenCommit(world.pool, async (tx) => publisher.markPublished(tx));
    expect(await unpublished()).toEqual([]);
    await publisher.stop();
  });

  test('then a transaction that failed before their mark leaves them to another', async () => {
    const messages = await leave(enough);
    const publisher = publisherOver(async () => {});
    await publisher.publish(messages);
    const failing = runThenCommit(world.pool, async (tx) => {
      tx.write(tx.send('', 'select 1 / 0', []));
      publisher.markPublished(tx);
    });
    await expect(failing).rejects.toThrow('division by zero');
    expect(await unpublished()).toHaveLength(enough);
    await eventually('they are marked', async () => (await unpublished()).length === 0);
    await publisher.stop();
  });

  test('then a stop marks what is left to mark', async () => {
    const { messages } = await world.run(world.intent('order.placement.requested', { data }));
    const publisher = publisherOver(async () => {});
    await publisher.publish(messages);
    await publisher.stop();
    expect(await unpublished()).toEqual([]);
  });

  test('then a failed one stays unmarked for the relay, which publishes it under the same id', async () => {
    const { messages } = await world.run(world.intent('order.placement.requested', { data }));
    const troubles: string[] = [];
    const publisher = publisherOver(async () => {
      throw new Error('no answer');
    }, troubles);
    await publisher.publish(messages);
    await publisher.stop();
    expect(troubles).toHaveLength(1);
    const relayed: string[] = [];
    const relay = relayOver(async ({ messageId }) => void relayed.push(messageId));
    await eventually('it is marked', async () => (await unpublished()).length === 0);
    await relay.stop();
    expect(relayed).toEqual(messages.map(({ messageId }) => messageId));
  });
});

describe('When published messages are past their retention', () => {
  test('then they are forgotten, and unpublished ones never', async () => {
    const [old, young, never] = await leave(3);
    const published = (id: string | undefined, ago: string) =>
      world.query(`update outbox set published_at = now() - $2::interval where message_id = $1`, [id, ago]);
    await published(old?.messageId, '25 hours');
    await published(young?.messageId, '1 hour');
    await world.query(`update outbox set created_at = now() - interval '90 days'`);
    const before = new Date(Date.now() - 24 * 60 * 60 * 1_000);
    await runThenCommit(world.pool, (tx) => forgetPublished(tx, before, 100));
    const rows = await world.query<{ id: string }>('select message_id as id from outbox');
    expect(rows.map(({ id }) => id).sort()).toEqual([young?.messageId, never?.messageId].sort());
  });
});
