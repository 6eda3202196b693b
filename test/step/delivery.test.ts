import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { attemptsMax } from '#libs/step/failures.ts';
import { deliveriesMax } from '#libs/step/last-try.ts';
import { payment } from '#services/payment/service.ts';
import { type Deliveries, deliveries, type Post, postOf } from '../support/deliveries.ts';
import { type DrivenWorld, drive } from '../support/driver.ts';
import { someEvent } from '../support/events.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let driven: DrivenWorld;
let bus: Deliveries;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(async () => {
  await world.query('truncate journal, outbox, payments, wallets, failures');
  await world.query(`insert into wallets values ('asha', 100000)`);
  driven = drive(world, world.pool);
  bus = deliveries(world, driven);
});
afterEach(() => driven.driver.stop());
afterAll(() => world[Symbol.asyncDispose]());

type Row = { state: string; attempts: number; reason: string; order_id: string | null; body: string };
const failures = () =>
  world.query<Row>('select state, attempts, reason, order_id, body from failures order by state, reason');
const balance = async () =>
  (await world.query<{ balance: number }>('select balance from wallets'))[0]?.balance;

const chargeOf = (subject: string) => someEvent('order.placement.requested', { subject });
const refundOf = (subject: string) => someEvent('inventory.released', { subject });

/** What a step of this order meets in the database, until it is healed: a constraint that no order of it can keep. */
async function breakWallets(): Promise<() => Promise<unknown>> {
  await world.query(`alter table wallets add constraint broken check (balance = 100000)`);
  return () => world.query('alter table wallets drop constraint broken');
}

describe('When a step fails every time', () => {
  test('then it is set aside after its attempts, whoever makes them, and acknowledged', async () => {
    const heal = await breakWallets();
    const orderId = randomUUID();
    const post = postOf(chargeOf(orderId));
    for (let delivery = 1; delivery < attemptsMax; delivery++) {
      // A new process every time.
      const restarted = deliveries(world, driven);
      const pauseMs = await restarted.deliver(post, delivery);
      expect(pauseMs).toBe(Math.min(100 * 2 ** (delivery - 1), 10_000));
      expect(await failures()).toMatchObject([{ state: 'retrying', attempts: delivery, order_id: orderId }]);
    }
    expect(await bus.deliver(post, attemptsMax)).toBe('acknowledged');
    expect(await failures()).toMatchObject([{ state: 'open', attempts: attemptsMax, order_id: orderId }]);
    expect(bus.deadLetters).toEqual([expect.stringContaining('broken')]);
    await heal();
  });

  test('then deliveries that nobody failed at use no attempt up', async () => {
    const heal = await breakWallets();
    const post = postOf(chargeOf(randomUUID()));
    // Seven restarts while the message was in hand, and then one failure.
    expect(await bus.deliver(post, attemptsMax)).toBe(100);
    expect(await failures()).toMatchObject([{ state: 'retrying', attempts: 1 }]);
    await heal();
    expect(await bus.deliver(post, attemptsMax + 1)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
    expect(await balance()).toBe(100_000 - 24_000);
  });

  test('then an outage uses none up either', async () => {
    const post = postOf(chargeOf(randomUUID()));
    const outage = Object.assign(new Error('away'), { code: '57P01' });
    const away = deliveries(world, driven, (items) => {
      for (const { failed } of items) failed(outage);
    });
    for (let delivery = 1; delivery <= attemptsMax + 1; delivery++) {
      expect(await away.deliver(post, delivery)).toBe(100);
    }
    expect(await failures()).toEqual([]);
  });
});

describe('When a message is delivered again and again and never ends', () => {
  /** What it is given dies with the process: nothing more is heard of it. */
  const dying = () => deliveries(world, driven, () => {});
  const lastTried = () =>
    eventually('the try is written down', async () => (await failures()).length === 1 && failures());

  test('then it is tried once more: it was only late, or had taken effect, and there is no dead letter', async () => {
    const post = postOf(chargeOf(randomUUID()));
    for (const again of [1, 2, 3]) {
      expect(await bus.deliver(post, deliveriesMax + again)).toBe('acknowledged');
      expect(await failures()).toEqual([]);
      expect(await balance()).toBe(100_000 - 24_000);
    }
    expect(bus.deadLetters).toEqual([]);
  });

  test('then a step whose last try nobody lived to tell of is set aside unhandled', async () => {
    const post = postOf(chargeOf(randomUUID()));
    void dying().deliver(post, deliveriesMax + 1);
    expect(await lastTried()).toMatchObject([{ state: 'retrying', attempts: deliveriesMax + 1 }]);
    expect(await bus.deliver(post, deliveriesMax + 2)).toBe('acknowledged');
    expect(await failures()).toMatchObject([{ state: 'open', attempts: deliveriesMax + 2 }]);
    expect(bus.deadLetters).toEqual([expect.stringContaining('may be what ends the process')]);
    expect(await balance()).toBe(100_000);
  });

  test('then a copy that was sent before the last try is no sign that it ended badly', async () => {
    const post = postOf(chargeOf(randomUUID()));
    void dying().deliver(post, deliveriesMax + 2);
    await lastTried();
    expect(await bus.deliver(post, deliveriesMax + 1)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
    expect(bus.deadLetters).toEqual([]);
    expect(await balance()).toBe(100_000 - 24_000);
  });

  test('then a last try that fails is set aside with what it failed of', async () => {
    const heal = await breakWallets();
    const post = postOf(chargeOf(randomUUID()));
    expect(await bus.deliver(post, deliveriesMax + 1)).toBe('acknowledged');
    expect(await failures()).toMatchObject([{ state: 'open', reason: expect.stringContaining('broken') }]);
    await heal();
  });

  test('then a last try that an outage ends was none', async () => {
    const post = postOf(chargeOf(randomUUID()));
    const outage = Object.assign(new Error('away'), { code: '57P01' });
    const away = deliveries(world, driven, (items) => {
      for (const { failed } of items) failed(outage);
    });
    expect(await away.deliver(post, deliveriesMax + 1)).toBe(100);
    expect(await failures()).toEqual([]);
    expect(await bus.deliver(post, deliveriesMax + 2)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
    expect(await balance()).toBe(100_000 - 24_000);
  });

  test('then a last try that an outage ends was none, even where nobody could write that down', async () => {
    const post = postOf(chargeOf(randomUUID()));
    const outage = Object.assign(new Error('away'), { code: '57P01' });
    let isAway = true;
    const lived = deliveries(world, driven, (items) => {
      if (!isAway) return driven.driver.submit(items);
      void world.query('alter table failures rename to away').then(() => {
        for (const { failed } of items) failed(outage);
      });
    });
    expect(await lived.deliver(post, deliveriesMax + 1)).toBe(100);
    await world.query('alter table away rename to failures');
    isAway = false;
    expect(await failures()).toMatchObject([{ state: 'retrying', attempts: deliveriesMax + 1 }]);
    expect(await lived.deliver(post, deliveriesMax + 2)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
    expect(lived.deadLetters).toEqual([]);
    expect(await balance()).toBe(100_000 - 24_000);
  });

  test('then an undo of which nobody lived to tell is found with those that are stuck, until it has ended', async () => {
    const post = postOf(refundOf(randomUUID()));
    for (const delivery of [attemptsMax + 1, attemptsMax + 2]) {
      void dying().deliver(post, delivery);
      expect(await lastTried()).toMatchObject([{ state: 'retrying', attempts: attemptsMax + 1 }]);
    }
    expect(await bus.deliver(post, attemptsMax + 3)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
  });

  test('then an undo is tried all the same', async () => {
    const orderId = randomUUID();
    expect(await bus.deliver(postOf(refundOf(orderId)), deliveriesMax + 1)).toBe('acknowledged');
    expect(await failures()).toEqual([]);
    const rows = await world.query(`select 1 from journal where order_id = $1`, [orderId]);
    expect(rows).toHaveLength(2);
  });
});

describe('When a message holds an undo that fails beside what is set aside', () => {
  /** One subject cannot hold both a step and an undo of this service, but an undo and what nobody can read. */
  const unreadable = { ...refundOf(randomUUID()), lamport: 0 };

  test('then its dead letter is written once, however often the undo is retried', async () => {
    const orderId = randomUUID();
    await Promise.all(driven.submit([world.intent('order.placement.requested', { orderId, data: charged })]));
    const heal = await breakRefunds();
    const undo = refundOf(orderId);
    const post: Post = { ...postOf(undo), body: JSON.stringify([undo, unreadable]) };
    for (let delivery = 1; delivery <= attemptsMax + 3; delivery++) await bus.deliver(post, delivery);
    expect(await failures()).toMatchObject([
      { state: 'open', attempts: 1, order_id: null },
      { state: 'retrying', attempts: attemptsMax + 3, order_id: orderId },
    ]);
    expect(bus.deadLetters).toHaveLength(1);
    // Stuck from its eighth attempt on, and told at each.
    expect(bus.stuck.map(({ attempts }) => attempts)).toEqual([8, 9, 10, 11]);

    await heal();
    expect(await bus.deliver(post, attemptsMax + 4)).toBe('acknowledged');
    expect(await failures()).toMatchObject([{ state: 'open', attempts: 1 }]);
    expect(await balance()).toBe(100_000);
  });

  const charged = { city: 'pune', items: [{ dishId: 'dosa', quantity: 1 }], total: 500 };
  async function breakRefunds() {
    await world.query(`alter table payments add constraint broken check (status <> 'refunded')`);
    return () => world.query('alter table payments drop constraint broken');
  }
});

describe('When a message cannot be stored as it is', () => {
  test.each([
    ['U+0000 in what is no JSON', 'a\u0000b'],
    ['U+0000 in an event', JSON.stringify([{ ...chargeOf(randomUUID()), type: 'a\u0000b' }])],
    ['half a surrogate pair', '[{"type":"\\ud800","specversion":"1.0"}]'],
    ['what is nested too deep to be written again', `[${'['.repeat(20_000)}${']'.repeat(20_000)}]`],
    ['a text of a million characters', `["${'ß'.repeat(400_000)}"]`],
  ])('then %s is set aside all the same', async (_, body) => {
    const post = { subject: 'order.placement.requested', body, messageId: 'id \u0000' };
    expect(await bus.deliver(post)).toBe('acknowledged');
    expect(await failures()).toMatchObject([{ state: 'open', attempts: 1 }]);
  });

  test('then one that the database does not take at this moment comes again', async () => {
    await world.query('alter table failures rename to hidden');
    const post = { subject: 'order.placement.requested', body: 'no JSON', messageId: randomUUID() };
    expect(await bus.deliver(post)).toBe(100);
    expect(bus.troubles).toEqual(['a failure could not be noted; its message comes again']);
    await world.query('alter table hidden rename to failures');
    expect(await bus.deliver(post, 2)).toBe('acknowledged');
    expect(await failures()).toHaveLength(1);
  });
});

test('A message that was set aside and comes again, because its acknowledgement was lost, is not handled again', async () => {
  const heal = await breakWallets();
  const post = postOf(chargeOf(randomUUID()));
  expect(await bus.deliverUntilDone(post)).toBe(attemptsMax);
  await heal();
  expect(await bus.deliver(post, attemptsMax + 1)).toBe('acknowledged');
  expect(await failures()).toMatchObject([{ state: 'open', attempts: attemptsMax }]);
  expect(await balance()).toBe(100_000);
});
