import { afterAll, describe, expect, test } from 'vitest';
import { isOk } from '#lab/nats.ts';
import type { OrderFault } from '#libs/contracts/orders.ts';
import { type Decision, participantNames } from '#libs/contracts/two-phase.ts';
import { system } from '../support/api.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { heldDown } from '../support/held-down.ts';
import { expectInvariants } from '../support/invariants.ts';
import {
  audit,
  firedAt,
  keyed,
  killsOf,
  oneOutcomeOf,
  type Placed,
  placeIn2pc,
  preparedEverywhere,
  preparedGids,
  type TwoPhaseRequest,
  undecided,
} from '../support/two-phase.ts';
import { assertTold, begin } from '../support/two-phase-story.ts';

afterAll(expectInvariants, 120_000);

type Crash = {
  at: string;
  part: string;
  over?: TwoPhaseRequest;
  decision: Decision;
  /** What the client is told. */
  told: string;
};

const crashes: Crash[] = [
  { at: 'coordinator.before-decision', part: 'coordinator', decision: 'abort', told: 'service-unavailable' },
  { at: 'coordinator.after-decision', part: 'coordinator', decision: 'commit', told: 'service-unavailable' },
  {
    at: 'coordinator.after-first-commit',
    part: 'coordinator',
    over: { twoPhase: 'grouped' },
    decision: 'commit',
    told: 'service-unavailable',
  },
  { at: 'payment.charge.before-prepare', part: 'payment', decision: 'abort', told: 'transaction-aborted' },
  { at: 'payment.charge.after-prepare', part: 'payment', decision: 'abort', told: 'transaction-aborted' },
  { at: 'payment.charge.before-commit-prepared', part: 'payment', decision: 'commit', told: 'dispatched' },
  // The one that has something to publish: the relay must find it after the commit.
  { at: 'order.place.before-commit-prepared', part: 'order', decision: 'commit', told: 'dispatched' },
  {
    at: 'inventory.reserve.after-prepare',
    part: 'inventory',
    over: { twoPhase: 'grouped' },
    decision: 'abort',
    told: 'transaction-aborted',
  },
];

describe('When a process is killed in the middle of a two-phase commit', () => {
  test.each(crashes)('F16, F17, F18, F19: $part at $at, then all databases $decision', async (row) => {
    const { at, part, over = {}, decision, told } = row;
    const before = killsOf(part);
    const faults: OrderFault[] = [{ at, do: 'crash' }];
    const order = await begin({ ...over, faults });
    const answer = await order.answered;
    await eventually(`${part} was killed`, () => killsOf(part) === before + 1);
    await labReady();
    const end = await order.over();
    expect(answer.status === 201 ? 'dispatched' : answer.body.code, answer.text).toBe(told);
    expect(end.decision).toBe(decision);
    expect(killsOf(part)).toBe(before + 1);
    if (decision === 'commit') {
      const again = await order.again();
      expect([again.status, again.body.orderId]).toEqual([201, order.orderId]);
      expect(again.headers.get('idempotency-replayed')).toBe('true');
    }
  });
});

describe('T1: When databases are killed while their branches are in doubt', () => {
  const names = ['payment', 'order'] as const;

  test('then the branches are still there afterwards, and end as decided', async () => {
    const killsBefore = names.map((name) => killsOf(`${name}-db`));
    const firedBefore = await firedAt('coordinator', 'coordinator.before-decision', 'delay');
    const order = await begin({ faults: undecided(4_000) });
    const items = await preparedEverywhere(order.orderId);
    await Promise.all(names.map((name) => killPart(`${name}-db`)));
    for (const name of names) {
      const gid = items.find(({ service }) => service === name)?.gid;
      await eventually(`${name}'s branch is back`, async () => {
        const rows = await audit<{ gid: string }>(name, 'select gid from pg_prepared_xacts');
        return rows.some((row) => row.gid === gid);
      });
    }
    const { answer, decision } = await order.over();
    expect([answer.status, decision]).toEqual([201, 'commit']);
    expect(names.map((name) => killsOf(`${name}-db`))).toEqual(killsBefore.map((count) => count + 1));
    expect(await firedAt('coordinator', 'coordinator.before-decision', 'delay')).toBe(firedBefore + 1);
    await labReady();
  });
});

const walWrittenMs = 700;
/** Longer than a participant in doubt waits until it asks. */
const awayMs = 4_000;

describe('T2: When the decision log is killed between the votes and the decision', () => {
  test('then nothing is decided until it is back, and then it is', async () => {
    const before = killsOf('coordinator-db');
    const order = await begin({ faults: undecided(500) });
    await preparedEverywhere(order.orderId);
    await killPart('coordinator-db');
    const { answer, decision } = await order.over();
    expect([answer.status, decision]).toEqual([201, 'commit']);
    expect(killsOf('coordinator-db')).toBe(before + 1);
    await labReady();
  });

  test('and stays away, then nobody is told how it ended, the rows stay locked, and recovery aborts', async () => {
    const fired = await firedAt('coordinator', 'coordinator.before-decision', 'delay');
    const order = await begin({ faults: undecided(1_500) });
    const gids = (await preparedEverywhere(order.orderId)).map(({ gid }) => gid);
    await new Promise((resolve) => setTimeout(resolve, walWrittenMs));
    await using log = await heldDown('coordinator-db');
    const { status, body } = await order.answered;
    expect([status, body.code, body.detail]).toEqual([
      503,
      'service-unavailable',
      'the decision log cannot be reached; whether this took effect is unknown',
    ]);
    expect(await firedAt('coordinator', 'coordinator.before-decision', 'delay')).toBe(fired + 1);
    // Nobody can be asked either: it stays so for as long as the log is away.
    await new Promise((resolve) => setTimeout(resolve, awayMs));
    expect((await preparedGids()).toSorted()).toEqual(gids.toSorted());
    await log.start();
    expect((await order.over()).decision).toBe('abort');
    await labReady();
    const again = await order.again();
    expect([again.status, again.body.status], again.text).toEqual([201, 'DISPATCHED']);
    expect(again.headers.get('idempotency-replayed')).toBeNull();
    expect(await oneOutcomeOf(order.orderId)).toBe('commit');
  });

  test('and the coordinator as well, then what it had begun is aborted', async () => {
    const before = [killsOf('coordinator-db'), killsOf('coordinator')];
    const order = await begin({ faults: undecided(20_000) });
    await preparedEverywhere(order.orderId);
    // The record of its beginning is not synced. Were it lost, the branches would wait for their id to be 20 s old.
    await new Promise((resolve) => setTimeout(resolve, walWrittenMs));
    await Promise.all([killPart('coordinator-db'), killPart('coordinator')]);
    await labReady();
    const { answer, decision } = await order.over();
    expect([answer.body.code, decision]).toEqual(['service-unavailable', 'abort']);
    expect([killsOf('coordinator-db'), killsOf('coordinator')]).toEqual(before.map((count) => count + 1));
  });
});

describe('When something is away that is asked before a transaction begins', () => {
  /** Places until the outage is met: what is killed comes back within a second or two. */
  const metBy = async (part: string) => {
    const before = killsOf(part);
    const killing = killPart(part);
    const answers: Placed[] = [];
    while (killsOf(part) === before || !(await isReady())) answers.push(await placeIn2pc());
    await killing;
    await labReady();
    return answers.filter(({ status }) => status !== 201).map(({ body }) => body.code);
  };

  test('the menu, to a coordinator that has just started, then the answer says so', async () => {
    await killPart('coordinator');
    await eventually('the coordinator lives', () => isOk(`http://127.0.0.1:${system.portBase + 6}/readyz`));
    const codes = await metBy('order');
    expect(codes.length).toBeGreaterThan(0);
    expect([...new Set(codes)]).toEqual(['service-unavailable']);
  });

  test('the decision log, then the answer says so', async () => {
    const codes = await metBy('coordinator-db');
    expect(codes.length).toBeGreaterThan(0);
    expect([...new Set(codes)]).toEqual(['service-unavailable']);
  });
});

const isReady = () => isOk(`${system.url}/readyz`);

describe('T9: When every part is killed under orders of two-phase commit', () => {
  const kills = ['inventory', 'coordinator', 'payment-db', 'order', 'coordinator-db', 'logistics'];
  const count = 30;

  test('then each order has one outcome, and it is the one that was answered', {
    timeout: 120_000,
  }, async () => {
    const before = kills.map(killsOf);
    const placing = Array.from({ length: count }, async (_, index) => {
      await new Promise((resolve) => setTimeout(resolve, index * 180));
      const { key, orderId } = keyed();
      const customerId = `customer-${String(800 + (index % 8)).padStart(4, '0')}`;
      const twoPhase = index % 2 === 0 ? ('single' as const) : ('grouped' as const);
      const items = [{ dishId: `dish-${250 + (index % 5)}`, quantity: 1 }];
      return { orderId, answer: await placeIn2pc({ customerId, twoPhase, items }, key).catch(String) };
    });
    for (const part of kills) await killPart(part);
    const placed = await Promise.all(placing);
    await labReady();
    expect(kills.map(killsOf)).toEqual(before.map((found) => found + 1));
    for (const { orderId, answer } of placed) {
      const decision = await oneOutcomeOf(orderId);
      if (typeof answer !== 'string') assertTold(answer, decision);
    }
    expect(placed.filter(({ answer }) => typeof answer !== 'string' && answer.status === 201)).not.toEqual(
      [],
    );
    for (const name of participantNames) {
      expect(await audit(name, 'select gid from pg_prepared_xacts')).toEqual([]);
    }
  });
});
