/** What happens to messages and processes without a crash: a hang, a duplicate, a lost acknowledgement. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { ackWaitMs } from '#libs/nats/streams.ts';
import {
  call,
  endOf,
  holdings,
  orderOf,
  place,
  somebody,
  stepOf,
  system,
  timelineOf,
} from '../support/api.ts';
import { type Bus, openBus } from '../support/bus.ts';
import { killPart, labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { metric } from '../support/service.ts';
import { heal, hitsOf, placePlanned, plan, setFaults } from '../support/set-faults.ts';
import { firedAt, pausing } from '../support/two-phase.ts';

afterEach(heal);
afterAll(expectInvariants);

/** Longer than the relay's patience, and than any step takes. */
const whileMs = 2_500;
const aWhile = () => new Promise((resolve) => setTimeout(resolve, whileMs));

const repeats = (service: string, step: string) =>
  metric(service, new RegExp(`^saga_steps_total\\{step="${step}",outcome="repeat"`));

function order() {
  const who = somebody();
  const over = { customerId: who.customerId, items: [{ dishId: who.dishId, quantity: 1 }] };
  return { who, over, ...plan() };
}

describe('When a service hangs before its commit', () => {
  const at = 'inventory.reserve.before-commit';

  test('then the order stands still until the fault is healed, and no process has to die for it', async () => {
    const one = order();
    const pid = runningLab(system.home).parts.inventory?.process?.pid;
    await setFaults({ id: 'h', at, do: 'hang', scope: { orderId: one.orderId }, hitsMax: 1 });
    await placePlanned(one, one.over);
    await eventually('it hangs', async () => (await hitsOf('h')) === 1);
    await aWhile();
    expect(await orderOf(one.orderId)).toMatchObject({ status: 'PENDING' });
    expect((await timelineOf(one.orderId)).map(({ step }) => step)).not.toContain('inventory.reserve');
    await heal();
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(await stepOf(one.orderId, 'inventory.reserve')).toMatchObject({ attempt: 1 });
    expect(runningLab(system.home).parts.inventory?.process?.pid).toBe(pid);
  });

  test('then it ends at its time, when nobody heals it', async () => {
    const one = order();
    const until = new Date(Date.now() + whileMs).toISOString();
    await setFaults({ id: 'u', at, do: 'hang', scope: { orderId: one.orderId }, until });
    await placePlanned(one, one.over);
    const { endedAt } = await endOf(one.orderId);
    expect(await hitsOf('u')).toBe(1);
    expect(Date.parse(endedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(until));
  });

  test('then a reset ends the one that an order carries', async () => {
    const before = await firedAt('inventory', at, 'hang');
    const { orderId } = await place({ faults: [{ at, do: 'hang' }] });
    await eventually('it hangs', async () => (await firedAt('inventory', at, 'hang')) === before + 1);
    await aWhile();
    expect(await orderOf(orderId)).toMatchObject({ status: 'PENDING' });
    await heal();
    expect(await endOf(orderId)).toMatchObject({ status: 'DISPATCHED' });
  });

  test('then a restart ends it, and what it had in hand comes again', async () => {
    const one = order();
    await setFaults({ id: 'r', at, do: 'hang', scope: { orderId: one.orderId }, hitsMax: 1 });
    await placePlanned(one, one.over);
    await eventually('it hangs', async () => (await hitsOf('r')) === 1);
    await killPart('inventory');
    await labReady();
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(await stepOf(one.orderId, 'inventory.reserve')).toMatchObject({ attempt: 2 });
    expect(await hitsOf('r')).toBe(1);
  });
});

describe('When a step hangs for one order', () => {
  test('then another order passes it by', async () => {
    const [one, other] = [order(), order()];
    await setFaults({ id: 's', at: 'payment.charge', do: 'hang', scope: { orderId: one.orderId } });
    await placePlanned(one, one.over);
    await eventually('it hangs', async () => (await hitsOf('s')) === 1);
    await placePlanned(other, other.over);
    expect(await endOf(other.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(await orderOf(one.orderId)).toMatchObject({ status: 'PENDING' });
    await heal();
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
  });
});

describe('F6: When what a step says is published twice', () => {
  let bus: Bus;
  beforeAll(async () => {
    bus = await openBus();
  });
  afterAll(() => bus.close());

  test('then it stands twice in the stream, under two ids, and takes effect once', async () => {
    const one = order();
    const before = await holdings(one.who);
    const from = (await bus.lastSequence()) + 1;
    const repeatsBefore = await repeats('order', 'order.confirm');
    const at = 'inventory.reserve.after-commit-before-publish';
    await setFaults({ id: 'd', at, do: 'duplicate', scope: { orderId: one.orderId } });
    const { total } = await placePlanned(one, one.over);
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    await eventually(
      'the second one was met',
      async () => (await repeats('order', 'order.confirm')) > repeatsBefore,
    );

    expect(await hitsOf('d')).toBe(1);
    const said = (await bus.messagesFrom(from)).filter(
      ({ subject, body }) => subject === 'inventory.reserved' && body.includes(one.orderId),
    );
    expect(said).toHaveLength(2);
    expect(new Set(said.map(({ messageId }) => messageId)).size).toBe(2);
    expect(said[1]?.body).toBe(said[0]?.body);
    const { balance, stock } = await holdings(one.who);
    expect([before.balance - balance, before.stock.free - stock.free]).toEqual([total, 1]);
  });
});

describe('F4: When an acknowledgement is lost', () => {
  test('then the message comes again after the ack wait, and takes effect once', async () => {
    const one = order();
    const before = await holdings(one.who);
    const at = 'payment.charge.after-publish-before-ack';
    const retries = () => metric('payment', /^saga_retries_total/);
    const counts = async () => [await retries(), await repeats('payment', 'payment.charge')];
    const [retriesBefore = 0, repeatsBefore = 0] = await counts();
    await setFaults({ id: 'a', at, do: 'drop-ack', scope: { orderId: one.orderId }, hitsMax: 1 });
    const { total } = await placePlanned(one, one.over);
    // Nobody waits for it: the order goes on at once.
    expect(await endOf(one.orderId, ackWaitMs / 2)).toMatchObject({ status: 'DISPATCHED' });
    expect(await hitsOf('a')).toBe(1);
    await eventually('it came again, and was known', async () => {
      const [retried = 0, repeated = 0] = await counts();
      return retried === retriesBefore + 1 && repeated === repeatsBefore + 1;
    });
    expect(await stepOf(one.orderId, 'payment.charge')).toMatchObject({ attempt: 1 });
    expect(before.balance - (await holdings(one.who)).balance).toBe(total);
    const lag = (await call<string>('GET', '/readyz')).status;
    expect(lag).toBe(200);
  });
});

describe('F8: When a consumer stands still for longer than the ack wait', () => {
  test('then its message comes again, its own acknowledgement comes late, and it takes effect once', async () => {
    const one = order();
    const before = await holdings(one.who);
    const at = 'payment.charge.before-commit';
    const retries = () => metric('payment', /^saga_retries_total/);
    const retriesBefore = await retries();
    // In its hand when it is stopped: nothing of it is committed, and nothing says that it is still at work.
    await setFaults({ id: 'w', at, do: 'delay', ms: 1_500, scope: { orderId: one.orderId }, hitsMax: 1 });
    const { total } = await placePlanned(one, one.over);
    await eventually('it has it in hand', async () => (await hitsOf('w')) === 1);
    {
      using _paused = pausing('payment');
      await new Promise((resolve) => setTimeout(resolve, ackWaitMs + whileMs));
      expect(await orderOf(one.orderId)).toMatchObject({ status: 'PENDING' });
    }
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    await eventually('it came again', async () => (await retries()) > retriesBefore);
    expect(before.balance - (await holdings(one.who)).balance).toBe(total);
  });
});

describe('When a batch fails before its commit', () => {
  test('then nothing of it stands, and it is repeated until it succeeds', async () => {
    const one = order();
    const before = await holdings(one.who);
    const at = 'payment.charge.before-commit';
    const fired = await firedAt('payment', at, 'error');
    const { total } = await placePlanned(one, { ...one.over, faults: [{ at, do: 'error', times: 2 }] });
    expect(await endOf(one.orderId)).toMatchObject({ status: 'DISPATCHED' });
    expect(await stepOf(one.orderId, 'payment.charge')).toMatchObject({ attempt: 3 });
    expect(await firedAt('payment', at, 'error')).toBe(fired + 2);
    expect(before.balance - (await holdings(one.who)).balance).toBe(total);
  });
});
