/** Many held rows, rows that are held again and again, and what is held without being a shared row. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import {
  all,
  applied,
  balance,
  charge,
  driven,
  type End,
  ended,
  hold,
  holdWallet,
  mainLockMs,
  openPool,
  sleep,
  times,
  useHeldRows,
  wallets,
} from '../support/held-rows.ts';

useHeldRows('payment');

describe('When more wallets are held than there are lanes', () => {
  test('then each goes on soon after it is free, whichever that is', async () => {
    const ends = [];
    for (let index = 0; index < 8; index++) ends.push(await holdWallet(index));
    const held = ends.map((_, index) => driven.submit([charge(index)]));
    const [free] = await all(driven.submit([charge(9)]));
    expect(free?.ms).toBeLessThan(1_000);
    for (const index of [7, 0, 4]) {
      await ends[index]?.('commit');
      const freedAt = performance.now();
      expect((await all(held[index] ?? []))[0]).toMatchObject(applied);
      expect(performance.now() - freedAt).toBeLessThan(1_000);
      expect(await balance(index)).toBe(899);
    }
    expect(await ended(held.flat())).toBe(3);
  });
});

describe('When a wallet goes from one prepared transaction to the next', () => {
  test('then no single wait is long, and the others go on all the same', async () => {
    let going = true;
    const pool = openPool(wallets, 'holder', 10);
    const holders = times(6, async () => {
      while (going) {
        const end = await holdWallet(0, 0, pool);
        await sleep(30);
        await end('commit');
      }
    });
    const held: Promise<End>[] = [];
    const others: Promise<End>[] = [];
    for (let round = 0; round < 100; round++) {
      held.push(...driven.submit([charge(0)]));
      others.push(...driven.submit([charge(1), charge(2)]));
      await sleep(15);
    }
    await all(others).finally(() => {
      going = false;
    });
    const waits = (await all(others)).map(({ ms }) => ms).sort((a, b) => a - b);
    expect(waits[100]).toBeLessThan(mainLockMs);
    expect(waits.at(-1)).toBeLessThan(1_000);
    await Promise.all(holders);
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await balance(0)).toBe(900);
  });
});

describe('When it is not a shared row that is held', () => {
  test("then an order whose journal entry is held is found, and the others' orders go on", async () => {
    const orderId = randomUUID();
    const end = await hold(
      `insert into journal values ('${orderId}', 'payment.charge', 'do', 'done', null, null, null, 1,
                                   '${randomUUID()}', 1, now())`,
    );
    const batch = driven.submit([...times(60, () => charge(1)), charge(2, { orderId }), charge(3)]);
    const [own] = batch.splice(60, 1) as [Promise<End>];
    for (const one of await all(batch)) expect(one.ms).toBeLessThan(1_500);
    const [next] = await all(driven.submit([charge(2)]));
    expect(next?.ms).toBeLessThan(mainLockMs);
    expect(await ended([own])).toBe(0);
    await end('commit');
    expect(await own).toMatchObject({ finished: true, verdict: { standing: 'repeat' } });
    expect(await balance(2)).toBe(999);
  });

  test('then a whole table that is locked is waited out, and nothing fails', async () => {
    const client = await wallets.pool.connect();
    await client.query('begin');
    await client.query('lock table journal');
    const ends = driven.submit(times(20, () => charge(1)));
    await eventually('they wait', () => driven.troubles.length > 2);
    expect(driven.driver.waitingForRows()).toBe(0);
    await client.query('rollback');
    client.release();
    for (const one of await all(ends)) expect(one).toMatchObject(applied);
    expect(await balance(1)).toBe(980);
  });
});
