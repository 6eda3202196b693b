/** Orders that need several rows of which one is held. */
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import {
  all,
  applied,
  dishes,
  driven,
  ended,
  holdStock,
  mainLockMs,
  reserve,
  sleep,
  useHeldRows,
} from '../support/held-rows.ts';

useHeldRows('inventory');

describe('When an order needs two dishes', () => {
  test('then while it waits for the one that is held, the other is free for others', async () => {
    // In the order of the locks: one comes before the dish that is held, the other after it.
    const end = await holdStock('idli');
    const held = driven.submit([reserve('dosa', 'idli'), reserve('idli', 'vada')]);
    await eventually('both are set aside', () => driven.driver.waitingForRows() === 2);
    for (let round = 0; round < 20; round++) {
      const [other] = await all(driven.submit([reserve('dosa', 'vada')]));
      expect(other).toMatchObject(applied);
      expect(other?.ms).toBeLessThan(mainLockMs);
    }
    expect(await ended(held)).toBe(0);
    await end('rollback');
    for (const one of await all(held)) expect(one).toMatchObject(applied);
    expect(await dishes.query('select reserved from stock order by dish_id')).toEqual([
      { reserved: 21 },
      { reserved: 2 },
      { reserved: 21 },
    ]);
  });

  test('then with both held it takes the one and waits for the other without it', async () => {
    const endDosa = await holdStock('dosa');
    const endIdli = await holdStock('idli');
    const held = driven.submit([reserve('dosa', 'idli')]);
    await eventually('it is set aside', () => driven.driver.waitingForRows() === 1);
    await endDosa('rollback');
    await sleep(500);
    const [other] = await all(driven.submit([reserve('dosa')]));
    expect(other).toMatchObject(applied);
    expect(other?.ms).toBeLessThan(mainLockMs);
    expect(await ended(held)).toBe(0);
    await endIdli('rollback');
    expect((await all(held))[0]).toMatchObject(applied);
  });
});
