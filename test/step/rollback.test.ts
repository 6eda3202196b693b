import { randomUUID } from 'node:crypto';
import { sql } from 'drizzle-orm';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import type { Reaction } from '#libs/step/reaction.ts';
import { transact } from '#libs/step/transact.ts';
import { openPayments, type Payments } from '../support/payments.ts';
import type { World } from '../support/world.ts';

let payments: Payments;
let world: World;

beforeAll(async () => {
  payments = await openPayments();
  world = payments.world;
});
beforeEach(() => payments.reset());
afterAll(() => world[Symbol.asyncDispose]());

const charge: Payments['charge'] = (...args) => payments.charge(...args);
const balances = () => payments.balances();

describe('When a step throws', () => {
  const nothing = async () => {
    expect(await balances()).toEqual({ asha: 1_000, meera: 100, ravi: 0 });
    expect(await world.query('select * from journal')).toEqual([]);
    expect(await world.query('select * from outbox')).toEqual([]);
    expect(await world.query('select * from payments')).toEqual([]);
  };

  test('then nothing of the whole batch remains, journal and outbox included', async () => {
    const broken = charge(randomUUID());
    const reaction: Reaction = {
      ...broken.reaction,
      step: {
        ...broken.reaction.step,
        async perform(...args: Parameters<typeof broken.reaction.step.perform>) {
          await broken.reaction.step.perform(...args);
          throw new Error('a bug after the writes');
        },
      } as Reaction['step'],
    };
    await expect(world.run(charge(randomUUID()), { ...broken, reaction })).rejects.toThrow('a bug after');
    await nothing();
  });

  test('then a sabotaged one takes its batch with it', async () => {
    const sabotage = new Error('injected');
    await expect(world.run(charge(randomUUID()), charge(randomUUID(), 1, 'asha', { sabotage }))).rejects.toBe(
      sabotage,
    );
    await nothing();
  });

  test('then a statement that fails at the end, unseen by the step, fails the transaction', async () => {
    const failing = runThenCommit(world.pool, async (tx) => {
      await transact(tx, [charge(randomUUID())], world.tools);
      tx.write(tx.execute(sql`insert into wallets values ('asha', 5)`).then(() => {}));
    });
    await expect(failing).rejects.toThrow();
    await nothing();
  });

  test('then a failure that somebody swallowed does not pass for a commit', async () => {
    const swallowed = runThenCommit(world.pool, async (tx) => {
      await transact(tx, [charge(randomUUID())], world.tools);
      await tx.execute(sql`select 1 / 0`).catch(() => {});
      return 'looks fine';
    });
    await expect(swallowed).rejects.toThrow('COMMIT was answered with ROLLBACK');
    await nothing();
  });

  test('then the connection serves the next transaction', async () => {
    for (let round = 0; round < 20; round++) {
      await expect(
        world.run(charge(randomUUID(), 1, 'asha', { sabotage: new Error('x') })),
      ).rejects.toThrow();
    }
    await world.run(charge(randomUUID(), 1));
    expect(await balances()).toMatchObject({ asha: 999 });
  });
});
