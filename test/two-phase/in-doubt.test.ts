import { afterAll, describe, expect, test } from 'vitest';
import type { Order } from '#libs/contracts/orders.ts';
import { gidOf, type InDoubtItem, inDoubtItem, participantNames } from '#libs/contracts/two-phase.ts';
import { call, endOf, holdings, type ProblemBody, place, somebody } from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import {
  hold,
  inDoubt,
  inDoubtOf,
  keyed,
  killsOf,
  oneOutcomeOf,
  pausing,
  placeIn2pc,
  resolve,
} from '../support/two-phase.ts';

afterAll(expectInvariants, 120_000);

const one = (dishId: string) => [{ dishId, quantity: 1 }];

type Waiting = InDoubtItem['waiting'];
const isBranch = ({ who }: Waiting[number]) => who.startsWith('2pc:');

/** The sessions in this database that wait for the branch, once they fulfil what is asked. */
const waitingIn = (gid: string, isThere: (waiting: Waiting) => boolean) =>
  eventually(`who waits for ${gid}`, async () => {
    const found = (await inDoubt()).items.find((item) => item.gid === gid);
    if (found && isThere(found.waiting)) return found.waiting;
    throw new Error(JSON.stringify(found));
  });

/** Everybody waits for the branch, or for one who does. */
function assertQueue(waiting: Waiting, gid: string, table: string): void {
  const service = gid.slice(gid.lastIndexOf(':') + 1);
  for (const { pid, who, waitingMs, behind, statement } of waiting) {
    const others = waiting.filter((each) => each.pid !== pid).map((each) => String(each.pid));
    expect(behind.length).toBeGreaterThan(0);
    for (const before of behind) expect([gid, ...others]).toContain(before);
    expect(who.startsWith('2pc:') || who.startsWith(service), who).toBe(true);
    expect(waitingMs).toBeGreaterThanOrEqual(0);
    expect(statement).toContain(table);
  }
  expect(waiting.some(({ behind }) => behind.includes(gid))).toBe(true);
}

describe('F21: When the coordinator stands still between the votes and the decision', () => {
  test('then what is in doubt is listed with who waits for it, and others go on', async () => {
    const [who, rich, other] = [somebody(), somebody(), somebody()];
    const before = await holdings(who);
    const held = await hold({ ...who, ms: 4_500 });
    // Of the same wallet; of the same dish. The coordinator runs these: they must wait before it stands still.
    const second = placeIn2pc({ customerId: who.customerId, items: one(other.dishId) });
    const third = placeIn2pc({ customerId: rich.customerId, items: one(who.dishId) });
    const [wallet, dish] = await Promise.all([
      place({ customerId: who.customerId, items: one('masala-dosa') }),
      place({ items: one(who.dishId) }),
    ]);
    const seen = await Promise.all(
      ['payment', 'inventory'].map((service) =>
        waitingIn(held.gid(service), (found) => found.some(isBranch) && !found.every(isBranch)),
      ),
    );
    const refused = await resolve(held.gid('payment'));
    expect([refused.status, refused.body.code]).toEqual([409, 'undecided']);

    using paused = pausing('coordinator');
    // Another wallet and another dish: nothing of it is held.
    const free = await place({ customerId: other.customerId, items: one(other.dishId) });
    expect((await endOf(free.orderId, 10_000)).status).toBe('DISPATCHED');
    assertQueue(seen[0] ?? [], held.gid('payment'), 'wallets');
    assertQueue(seen[1] ?? [], held.gid('inventory'), 'stock');

    const items = await inDoubtOf(held.orderId);
    expect(items.map(({ service }) => service).sort()).toEqual([...participantNames].sort());
    for (const item of items) {
      expect(inDoubtItem.parse(item)).toEqual(item);
      expect(item).toMatchObject({
        gid: held.gid(item.service),
        transactionId: held.transactionId,
        orderIds: [held.orderId],
      });
      expect(Math.abs(Date.parse(item.preparedAt) + item.ageMs - Date.now())).toBeLessThan(5_000);
      expect(item.locks.map(({ table }) => table)).toEqual(expect.arrayContaining(['journal', 'branches']));
    }
    const tablesOf = (service: string) =>
      items.find((item) => item.service === service)?.locks.map(({ table }) => table);
    expect(tablesOf('payment')).toContain('wallets');
    expect(tablesOf('inventory')).toContain('stock');
    expect(tablesOf('logistics')).toContain('assignments');

    for (const { orderId } of [wallet, dish]) expect((await endedOrNot(orderId)).endedAt).toBeNull();
    expect(await inDoubtOf(held.orderId)).toHaveLength(4);

    paused.resume();
    expect((await held.answered).status).toBe(201);
    for (const waited of await Promise.all([second, third])) expect(waited.status, waited.text).toBe(201);
    for (const { orderId } of [wallet, dish]) expect((await endOf(orderId)).status).toBe('DISPATCHED');
    expect(await oneOutcomeOf(held.orderId)).toBe('commit');
    await eventually('nothing is in doubt', async () => {
      const { items: left, missing } = await inDoubt();
      return left.length === 0 && missing.length === 0;
    });
    expect((await holdings(who)).balance).toBeLessThan(before.balance);
    await labReady();
  });
});

/** Who is there and does not answer is given up, before a person gives up. */
const givenUpMs = 10_000;

describe('When the coordinator is asked while it cannot answer', () => {
  const gid = gidOf('01890000-0000-7000-8000-000000000002', 'payment');

  test('because it stands still, then whoever asks is told so in time', async () => {
    using _paused = pausing('coordinator');
    const late = new Promise<undefined>((done) => setTimeout(done, givenUpMs, undefined).unref());
    const answer = await Promise.race([resolve(gid), late]);
    expect([answer?.status, answer?.body.code]).toEqual([503, 'service-unavailable']);
  });

  test('because it is gone, then whoever asks is told so', async () => {
    const before = killsOf('coordinator');
    const answer = await eventually('nobody is there', async () => {
      const killing = killPart('coordinator');
      const answers = [];
      for (let look = 0; look < 5; look++) answers.push(await resolve(gid));
      await killing;
      return answers.find(({ status }) => status === 503);
    });
    expect(answer.body.code).toBe('service-unavailable');
    expect(killsOf('coordinator')).toBeGreaterThan(before);
    await labReady();
  });
});

describe('When an order is asked for that only the coordinator knows', () => {
  test('and it is gone, then nobody says that there is no such order', async () => {
    const { key, orderId } = keyed();
    expect((await placeIn2pc({ customerId: 'ravi' }, key)).status).toBe(409);
    const path = `/api/orders/${orderId}`;
    const killing = killPart('coordinator');
    const answers: string[] = [];
    const look = async () => {
      const { status, body } = await call<{ status: string; code?: string }>('GET', path);
      answers.push(`${status} ${body.code ?? body.status}`);
      return answers.includes('503 service-unavailable');
    };
    await eventually('it cannot be asked', look);
    await killing;
    await labReady();
    await look();
    expect(answers.at(-1)).toBe('200 CANCELLED');
    expect([...new Set(answers)].sort()).toEqual(['200 CANCELLED', '503 service-unavailable']);
    const unknown = await call<ProblemBody>('GET', `/api/orders/${crypto.randomUUID()}`);
    expect([unknown.status, unknown.body.code]).toEqual([404, 'not-found']);
  });
});

const endedOrNot = async (orderId: string) => (await call<Order>('GET', `/api/orders/${orderId}`)).body;

describe('When a participant is killed while its branch is in doubt', () => {
  test('then the decision log still says whose order it is', async () => {
    const before = killsOf('payment');
    const held = await hold({ ...somebody(), ms: 5_000 });
    await killPart('payment');
    const item = await eventually('payment lists it again', async () => {
      const { items, missing } = await inDoubt();
      return missing.length === 0 && items.find(({ gid }) => gid === held.gid('payment'));
    });
    expect(item).toMatchObject({ service: 'payment', orderIds: [held.orderId] });
    expect(killsOf('payment')).toBe(before + 1);
    expect((await held.answered).status).toBe(201);
    expect(await oneOutcomeOf(held.orderId)).toBe('commit');
    await labReady();
  });

  test('then the list says that its part is missing', async () => {
    const { items, missing } = await eventually('payment is away', async () => {
      const killing = killPart('payment');
      const lists = [];
      for (let look = 0; look < 5; look++) lists.push(await inDoubt());
      await killing;
      return lists.find((list) => list.missing.length > 0);
    });
    expect([items, missing]).toEqual([[], ['payment']]);
    await labReady();
  });
});
