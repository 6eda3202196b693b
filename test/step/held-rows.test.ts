/** A wallet that a prepared transaction holds: who needs it waits, and nobody else does. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import {
  all,
  applied,
  balance,
  charge,
  driven,
  ended,
  holdWallet,
  mainLockMs,
  refund,
  sleep,
  times,
  useHeldRows,
  waitingInDatabase,
  wallets,
} from '../support/held-rows.ts';

useHeldRows('payment');

describe('When a prepared transaction holds a wallet', () => {
  test('then the others of its batch are through within a second, and it waits in the database', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    const mixed = driven.submit([
      ...times(40, () => charge(1)),
      charge(0),
      ...times(40, () => charge(2)),
      charge(0),
    ]);
    const others = await all(mixed.filter((_, index) => index !== 40 && index !== 81));
    for (const one of others) {
      expect(one).toMatchObject(applied);
      expect(one.ms).toBeLessThan(1_000);
    }
    expect(await ended([...held, ...mixed])).toBe(80);
    expect(driven.driver.waitingForRows()).toBe(3);
    await eventually('it waits inside PostgreSQL', async () => (await waitingInDatabase()) === 1);
    await end('commit');
    for (const one of await all([...held, ...mixed])) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 3);
  });

  test('then what comes later for others does not pay for it, and what comes for it waits in line', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    let slowest = 0;
    for (let round = 0; round < 40; round++) {
      held.push(...driven.submit([charge(0)]));
      const [other] = await all(driven.submit([charge(1 + (round % 9))]));
      slowest = Math.max(slowest, other?.ms ?? 0);
    }
    expect(slowest).toBeLessThan(mainLockMs);
    expect(await ended(held)).toBe(0);
    expect(driven.sent).toHaveLength(40);
    await end('rollback');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 41);
    expect(driven.sent).toHaveLength(81);
    expect(new Set(driven.sent).size).toBe(81);
    const entries = await wallets.query<{ attempt: number }>('select attempt from journal');
    expect(entries).toHaveLength(81);
    expect(entries.every(({ attempt }) => attempt === 1)).toBe(true);
  });

  test('then afterwards everything is as it was', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    await end('commit');
    await all(held);
    const lastTurn = async () => {
      const text = `select max(state_change)::text as at from pg_stat_activity
                    where datname = current_database() and application_name = 'lane'`;
      return (await wallets.query<{ at: string }>(text))[0]?.at;
    };
    await eventually('no lane takes a turn any more', async () => {
      const before = await lastTurn();
      await sleep(100);
      return (await lastTurn()) === before;
    });
    const [after] = await all(driven.submit([charge(0)]));
    expect(after).toMatchObject(applied);
    expect(after?.ms).toBeLessThan(mainLockMs);
    expect(driven.troubles).toEqual([]);
  });

  test('then it waits for as long as it takes, longer than any one wait', async () => {
    const end = await holdWallet(0);
    const held = driven.submit(times(5, () => charge(0)));
    await sleep(11_000);
    expect(await ended(held)).toBe(0);
    expect(driven.troubles).toContain('5 wait for wallets/customer-0, which another transaction holds');
    await end('commit');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 5);
  });

  test('then a person is told within two seconds, and nothing happens later', async () => {
    const end = await holdWallet(0);
    const [patient] = driven.submit([charge(0)]);
    const people = await all(driven.submit([charge(0), charge(0)], false));
    for (const one of people) {
      expect(one).toMatchObject({ finished: false, error: { code: '55P03' } });
      expect(one.ms).toBeLessThan(2_000);
    }
    await end('commit');
    expect(await patient).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000 - 100 - 1);
  });

  test('then an undo waits as well, and others go on', async () => {
    const orderId = randomUUID();
    await all(driven.submit([charge(0, { orderId }), charge(1)]));
    const end = await holdWallet(0);
    const undo = driven.submit([refund(0, orderId)]);
    for (const one of await all(driven.submit(times(20, () => charge(1)))))
      expect(one.ms).toBeLessThan(1_000);
    expect(await ended(undo)).toBe(0);
    await end('rollback');
    expect((await all(undo))[0]).toMatchObject(applied);
    expect(await balance(0)).toBe(1_000);
  });

  test('then what comes later for the same order stays behind it', async () => {
    const orderId = randomUUID();
    const end = await holdWallet(0);
    const first = driven.submit([charge(0, { orderId })]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    // As if it needed nothing that is held: it goes behind all the same, because it is the same order.
    const second = driven.submit([refund(1, orderId)]);
    await sleep(300);
    await end('commit');
    expect((await all(first))[0]).toMatchObject(applied);
    expect((await all(second))[0]).toMatchObject(applied);
    expect(driven.sent).toEqual([`payment.completed ${orderId}`, `payment.refunded ${orderId}`]);
    expect(await balance(0)).toBe(900);
  });

  test('then one poison item among those that wait fails alone', async () => {
    const sabotage = new Error('poison');
    const end = await holdWallet(0);
    const held = driven.submit(times(9, () => charge(0)));
    await eventually('they are set aside', () => driven.driver.waitingForRows() === 9);
    const [poison] = driven.submit([charge(0, { sabotage })]);
    const later = driven.submit(times(9, () => charge(0)));
    await eventually('all are set aside', () => driven.driver.waitingForRows() === 19);
    await end('commit');
    expect(await poison).toMatchObject({ finished: false, error: sabotage });
    for (const one of await all([...held, ...later])) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(900 - 18);
  });

  test('then a driver that is told to stop stops at once', async () => {
    await holdWallet(0);
    await holdWallet(1);
    const held = driven.submit([charge(0), charge(1), charge(1)]);
    await eventually('both are waited for', async () => (await waitingInDatabase()) === 2);
    const startedAt = performance.now();
    await driven.driver.stop();
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    for (const one of await all(held))
      expect(one).toMatchObject({ finished: false, error: { code: '55P03' } });
    expect(await waitingInDatabase()).toBe(0);
  });

  test('then the backend that waits may be killed', async () => {
    const end = await holdWallet(0);
    const held = driven.submit([charge(0)]);
    await eventually('the waiting one is killed', async () => {
      const killed = await wallets.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'lane' and wait_event_type = 'Lock'`,
      );
      return killed.length === 1;
    });
    await end('commit');
    expect((await all(held))[0]).toMatchObject(applied);
  });
});
