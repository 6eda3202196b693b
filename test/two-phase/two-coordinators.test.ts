import { afterAll, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import type { FinishedAnswer } from '#libs/contracts/placing.ts';
import { type Decision, gidOf, participantNames } from '#libs/contracts/two-phase.ts';
import { call, get, holdings, somebody } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { secondName, startSecondCoordinator } from '../support/second-coordinator.ts';
import { metric } from '../support/service.ts';
import {
  allOfIt,
  audit,
  inDoubtOf,
  keyed,
  nothingOfIt,
  oneOutcomeOf,
  type Placed,
  placeIn2pc,
  preparedEverywhere,
  preparedGids,
  settled,
  standingOf,
  type TwoPhaseRequest,
  transactionsOf,
  undecided,
} from '../support/two-phase.ts';
import { write } from '../support/write.ts';

afterAll(expectInvariants, 120_000);

type Told = { order: Order } | { refused: string | undefined };

const toldByFirst = ({ status, body, text }: Placed): Told => {
  expect([201, 409], text).toContain(status);
  return status === 201 ? { order: body } : { refused: body.detail };
};
const toldBySecond = (answer: FinishedAnswer): Told => {
  if ('finished' in answer) return { order: answer.finished };
  expect(answer.problem.code, JSON.stringify(answer.problem)).toBe('order-refused-by-participant');
  return { refused: answer.problem.detail };
};

/** How many transactions of these orders each coordinator has begun. */
async function begunBy(orderIds: readonly string[]): Promise<Record<string, number>> {
  const rows = await audit<{ coordinator: string; count: number }>(
    'coordinator',
    `select coordinator, count(*)::int as count from transactions
     where exists (select from jsonb_array_elements(orders) as o where (o ->> 'orderId')::uuid = any($1::uuid[]))
     group by coordinator`,
    [orderIds],
  );
  return Object.fromEntries(rows.map(({ coordinator, count }) => [coordinator, count]));
}

const recovered = (decision: Decision) =>
  metric('coordinator', new RegExp(`^two_phase_recovered_total.*decision="${decision}"`));

const modes = ['single', 'grouped'] as const;

describe('F26: When two coordinators place orders on the same wallets and dishes', () => {
  test('then each order ends as it was answered, and no money and no portion is lost', async () => {
    await using second = await startSecondCoordinator();
    const people = [somebody(), somebody(), somebody()];
    const before = await Promise.all(people.map(holdings));
    const count = 40;
    const placed = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const { key, orderId } = keyed();
        const { customerId } = people[index % 3] ?? somebody();
        const dishes = [index % 3, (index + 1) % 3].map((each) => people[each]?.dishId ?? '');
        const items = dishes.map((dishId) => ({ dishId, quantity: 1 }));
        const twoPhase = index % 4 < 2 ? ('single' as const) : ('grouped' as const);
        const isRefused = index % 10 === 9;
        const request = { customerId: isRefused ? 'ravi' : customerId, items, twoPhase };
        const told =
          index % 2 === 0
            ? toldByFirst(await placeIn2pc(request, key))
            : toldBySecond(await second.place(request, orderId));
        return { orderId, isRefused, told };
      }),
    );
    const orders = placed.flatMap(({ told }) => ('order' in told ? [told.order] : []));
    expect(placed.filter(({ told }) => 'refused' in told).map(({ told }) => told)).toEqual(
      placed.filter(({ isRefused }) => isRefused).map(() => ({ refused: 'insufficient funds' })),
    );
    for (const { orderId, told } of placed) {
      const stands = 'order' in told;
      const shown = await get<Order>(`/api/orders/${orderId}`);
      if (stands) {
        expect(await oneOutcomeOf(orderId)).toBe('commit');
        expect(shown).toEqual(told.order);
      } else {
        await settled(orderId);
        expect(shown).toMatchObject({ status: 'CANCELLED', reason: 'insufficient funds' });
        const standing = await standingOf(orderId);
        for (const name of participantNames) expect(standing[name], name).not.toBe(allOfIt[name]);
      }
    }
    expect(await preparedGids()).toEqual([]);
    const begun = await begunBy(placed.map(({ orderId }) => orderId));
    expect(Object.keys(begun)).toHaveLength(2);
    expect(begun[secondName]).toBeGreaterThan(0);

    const after = await Promise.all(people.map(holdings));
    people.forEach(({ customerId, dishId }, index) => {
      const paid = orders.filter((order) => order.customerId === customerId).map(({ total }) => total);
      const portions = orders.flatMap(({ items }) => items).filter((item) => item.dishId === dishId).length;
      const { balance = 0, stock = { free: 0, reserved: 0 } } = before[index] ?? {};
      expect(after[index]).toEqual({
        balance: balance - paid.reduce((sum, total) => sum + total, 0),
        stock: { free: stock.free - portions, reserved: stock.reserved + portions },
      });
    });
  });

  test('and one key comes to both at once, then it is one order, and a repeat is told the same', async () => {
    await using second = await startSecondCoordinator();
    const who = somebody();
    const before = await holdings(who);
    const { key, orderId } = keyed();
    const request = { customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] };
    const [first, other] = await Promise.all([placeIn2pc(request, key), second.place(request, orderId)]);
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    expect(await holdings(who)).toEqual({
      balance: before.balance - (await get<Order>(`/api/orders/${orderId}`)).total,
      stock: { free: before.stock.free - 1, reserved: before.stock.reserved + 1 },
    });
    // Who lost may be told to try again; nobody is told something else than what is the case.
    const told = [first.status === 201 ? 'done' : first.body.code];
    told.push('finished' in other ? 'done' : other.problem.code);
    expect(told).toContain('done');
    for (const each of told) expect(['done', 'transaction-aborted']).toContain(each);
    const again = await placeIn2pc(request, key);
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([201, 'true']);
    expect(await second.place(request, orderId)).toEqual({ finished: again.body, replayed: true });
  });
});

/** At the second one: what happens to the first's is for recovery.test.ts. */
const requestOf = (who: { customerId: string; dishId: string }, over: TwoPhaseRequest) => ({
  ...{ customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 2 }] },
  ...over,
});

describe('F26: When one of two coordinators is killed', () => {
  test.each(modes)('after its decision (%s), then the other one commits it everywhere', async (twoPhase) => {
    await using second = await startSecondCoordinator();
    const who = somebody();
    const before = await holdings(who);
    const commits = await recovered('commit');
    const { key, orderId } = keyed();
    const request = requestOf(who, { twoPhase, faults: [{ at: 'coordinator.after-decision', do: 'crash' }] });
    await expect(second.place(request, orderId)).rejects.toThrow();
    expect(await second.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(await oneOutcomeOf(orderId)).toBe('commit');
    expect(await begunBy([orderId])).toEqual({ [secondName]: 1 });
    await eventually('the first one counts it', async () => (await recovered('commit')) === commits + 1);
    expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 2);
    const again = await placeIn2pc(request, key);
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([201, 'true']);
  });

  test('before its decision, then the branches wait, until it is back and aborts', async () => {
    const who = somebody();
    const before = await holdings(who);
    const { orderId } = keyed();
    {
      await using second = await startSecondCoordinator();
      const request = requestOf(who, { faults: [{ at: 'coordinator.before-decision', do: 'crash' }] });
      await expect(second.place(request, orderId)).rejects.toThrow();
      expect(await second.exited).toEqual({ code: null, signal: 'SIGKILL' });
    }
    // The first one cannot know that nobody will decide: it leaves it alone for as long as somebody might.
    await new Promise((resolve) => setTimeout(resolve, 3_200));
    expect((await transactionsOf(orderId)).map(({ decision }) => decision)).toEqual([null]);
    expect(await inDoubtOf(orderId)).toHaveLength(participantNames.length);
    await using _back = await startSecondCoordinator();
    expect(await oneOutcomeOf(orderId)).toBe('abort');
    expect(await holdings(who)).toEqual(before);
    expect((await call('GET', `/api/orders/${orderId}`)).status).toBe(404);
  });
});

describe('F25, F26: When one of two coordinators stands still between the votes and its decision', () => {
  test.each(modes)(
    'for too long (%s), then the other one aborts, and it does not commit when it goes on',
    async (twoPhase) => {
      await using second = await startSecondCoordinator();
      const who = somebody();
      const before = await holdings(who);
      const aborts = await recovered('abort');
      const { orderId } = keyed();
      const placing = second.place(requestOf(who, { twoPhase, faults: undecided(3_000) }), orderId);
      const [item] = await preparedEverywhere(orderId);
      second.pause();
      await makeOld(item?.transactionId);
      await settled(orderId);
      await eventually('the first one counts it', async () => (await recovered('abort')) === aborts + 1);
      expect(await holdings(who)).toEqual(before);
      second.resume();

      const answer = await placing;
      expect('finished' in answer && answer.finished.status, JSON.stringify(answer)).toBe('DISPATCHED');
      expect(await oneOutcomeOf(orderId)).toBe('commit');
      const [first, ...others] = await transactionsOf(orderId);
      expect(first).toEqual({ transactionId: item?.transactionId, decision: 'abort', ended: true });
      expect(others.map(({ decision }) => decision)).toEqual(['commit']);
      for (const name of participantNames) {
        const ofBranch = 'select state from branches where transaction_id = $1';
        expect(await audit(name, ofBranch, [first?.transactionId]), name).toEqual([{ state: 'barred' }]);
      }
      expect((await holdings(who)).stock.reserved).toBe(before.stock.reserved + 2);
    },
  );

  test('and an order was refused meanwhile, then every repeat under its key is told of the same refusal', async () => {
    await using second = await startSecondCoordinator();
    const { key, orderId } = keyed();
    const faults = [{ at: 'logistics.assign', do: 'delay', ms: 1_000 }] as const;
    const request = requestOf({ ...somebody(), customerId: 'ravi' }, { faults: [...faults] });
    const placing = second.place(request, orderId);
    const begun = async () => (await transactionsOf(orderId))[0]?.transactionId;
    const transactionId = await eventually('its transaction has begun', begun);
    second.pause();
    // Payment has refused, and the last vote comes while nobody reads it.
    await eventually('all have voted', async () =>
      (await preparedGids()).includes(gidOf(transactionId, 'logistics')),
    );
    await makeOld(transactionId);
    expect((await settled(orderId)).map(({ decision }) => decision)).toEqual(['abort']);
    second.resume();

    expect(toldBySecond(await placing)).toEqual({ refused: 'insufficient funds' });
    expect((await transactionsOf(orderId)).map(({ transactionId: id }) => id)).toEqual([transactionId]);
    expect(toldByFirst(await placeIn2pc(request, key))).toEqual({ refused: 'insufficient funds' });
    expect(toldBySecond(await second.place(request, orderId))).toEqual({ refused: 'insufficient funds' });
    expect(await standingOf(orderId)).toEqual(nothingOfIt);
  });
});

/** Twenty seconds are too long for a test: the first one is shown a transaction that is older than it is. */
async function makeOld(transactionId: string | undefined): Promise<void> {
  const aged = await write(
    'coordinator',
    `update transactions set began_at = began_at - interval '1 minute'
     where transaction_id = $1 and decision is null returning transaction_id`,
    [transactionId],
  );
  expect(aged).toHaveLength(1);
}
