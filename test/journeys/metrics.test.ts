/** Every number that the dashboard shows, moved by the thing itself: on the pages of the running services. */
import pg from 'pg';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lookAtConsumer } from '#libs/service/look-at.ts';
import { createLooks } from '#libs/service/looks.ts';
import { endOf, place, somebody, system } from '../support/api.ts';
import { type Bus, openBus } from '../support/bus.ts';
import { labReady } from '../support/control.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask, metric } from '../support/service.ts';
import { pausing, placeIn2pc } from '../support/two-phase.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await openBus();
});
afterAll(async () => {
  await bus.clean();
  await bus.close();
  await expectInvariants();
});

const ravisOrder = { customerId: 'ravi' };
const somebodys = () => {
  const { customerId, dishId } = somebody();
  return { customerId, items: [{ dishId, quantity: 1 }] };
};

const rises = async (
  what: string,
  read: () => Promise<number>,
  by: number,
  cause: () => Promise<unknown>,
) => {
  const before = await read();
  await cause();
  await eventually(`${what} rises by ${by}`, async () => (await read()) - before >= by);
  expect((await read()) - before).toBe(by);
};

const orders = (service: string, protocol: string, outcome: string) => () =>
  metric(service, new RegExp(`^saga_orders_total\\{protocol="${protocol}",outcome="${outcome}"`));

describe('Orders', () => {
  test('of the saga are counted as placed and as dispatched or cancelled, with their duration', async () => {
    const durations = () => metric('order', /^saga_order_seconds_count\{protocol="saga"/);
    const seconds = () => metric('order', /^saga_order_seconds_sum\{protocol="saga"/);
    await rises('placed', orders('order', 'saga', 'placed'), 1, () =>
      rises('dispatched', orders('order', 'saga', 'dispatched'), 1, () =>
        rises('durations', durations, 1, async () => endOf((await place(somebodys())).orderId)),
      ),
    );
    const before = await seconds();
    const held = { at: 'payment.charge', do: 'delay', ms: 700 } as const;
    await rises('cancelled', orders('order', 'saga', 'cancelled'), 1, async () =>
      endOf((await place({ ...ravisOrder, faults: [held] })).orderId),
    );
    expect((await seconds()) - before).toBeGreaterThan(0.7);
    expect((await seconds()) - before).toBeLessThan(6);
  });

  test('of two-phase commit are counted by the coordinator', async () => {
    const durations = () => metric('coordinator', /^saga_order_seconds_count\{protocol="2pc"/);
    await rises('dispatched', orders('coordinator', '2pc', 'dispatched'), 1, () =>
      rises('durations', durations, 1, () => placeIn2pc(somebodys())),
    );
    await rises('cancelled', orders('coordinator', '2pc', 'cancelled'), 1, () => placeIn2pc(ravisOrder));
    // Aborted four times, which is as often as it is tried.
    const refusing = { ...somebodys(), faults: [{ at: 'payment.charge', do: 'error', times: 9 }] };
    await rises('failed', orders('coordinator', '2pc', 'failed'), 1, () => placeIn2pc(refusing as object));
    // A repeated key is no order, and neither is what was refused at the door.
    const placed = orders('coordinator', '2pc', 'placed');
    const key = `metrics-${Date.now()}`;
    const same = somebodys();
    await rises('placed', placed, 1, async () => {
      await placeIn2pc(same, key);
      await placeIn2pc(same, key);
      await placeIn2pc({ items: [{ dishId: 'no-such-dish', quantity: 1 }] });
    });
  });
});

describe('Steps', () => {
  test('tell how long they took, their waiting included', async () => {
    const counted = () => metric('payment', /^saga_step_seconds_count\{step="payment.charge"/);
    const quick = () => metric('payment', /^saga_step_seconds_bucket\{le="0.5",step="payment.charge"/);
    const faults = [{ at: 'payment.charge', do: 'delay', ms: 800 } as const];
    const quickBefore = await quick();
    await rises('charges', counted, 1, async () => endOf((await place({ ...somebodys(), faults })).orderId));
    expect(await quick()).toBe(quickBefore);
  });

  test('that failed are counted when their message comes again', async () => {
    const retries = () => metric('inventory', /^saga_retries_total/);
    const faults = [{ at: 'inventory.reserve', do: 'error', times: 2 } as const];
    await rises('retries', retries, 2, async () => endOf((await place({ ...somebodys(), faults })).orderId));
  });
});

test('Dead letters are counted where they die, and for as long as nobody deals with them', async () => {
  const died = () => metric('payment', /^saga_dead_letters_total/);
  const open = () => metric('payment', /^saga_dead_letters_open/);
  await rises('open', open, 1, () =>
    rises('dead letters', died, 1, () =>
      bus.publish('order.placement.requested', 'no JSON at all', `metrics-${Date.now()}`),
    ),
  );
});

describe('The outbox and the broker', () => {
  const depth = () => metric('order', /^saga_outbox_unpublished/);
  const age = () => metric('order', /^saga_outbox_oldest_seconds/);
  const looksFailed = () => metric('order', /^saga_looks_failed_total\{at="consumer"/);

  test('show a backlog and its age while the broker stands still; the page stays readable', async () => {
    await eventually('the outbox is empty', async () => (await depth()) === 0);
    const failedBefore = await looksFailed();
    let orderId = '';
    {
      using _ = pausing('nats');
      ({ orderId } = await place(somebodys()));
      await eventually('a message waits', async () => (await depth()) === 1 && (await age()) > 1);
      const startedAtMs = performance.now();
      const { status, text } = await ask('order', 'GET', '/metrics');
      expect(status).toBe(200);
      expect(performance.now() - startedAtMs).toBeLessThan(2_000);
      expect(text).not.toMatch(/^saga_consumer_pending/m);
      expect(await looksFailed()).toBeGreaterThan(failedBefore);
    }
    await labReady();
    await endOf(orderId);
    await eventually('the outbox is empty again', async () => (await depth()) === 0 && (await age()) === 0);
  });

  test('show messages that a service has and has not acknowledged', async () => {
    const open = () => metric('payment', /^saga_consumer_ack_pending/);
    await eventually('nothing is open', async () => (await open()) === 0);
    const faults = [{ at: 'payment.charge', do: 'delay', ms: 2_500 } as const];
    const { orderId } = await place({ ...somebodys(), faults });
    await eventually('one is open', async () => (await open()) === 1, 2_000);
    await endOf(orderId);
    await eventually('nothing is open again', async () => (await open()) === 0);
  });

  test('show messages that nobody has fetched', async () => {
    const durable = 'metrics-test';
    const { num_pending } = await bus.manager.consumers.add('EVENTS', {
      durable_name: durable,
      ack_policy: 'explicit',
      filter_subject: 'order.dispatched',
    });
    try {
      const looks = createLooks(new Registry());
      lookAtConsumer(looks, bus.connection, durable);
      await endOf((await place(somebodys())).orderId);
      await eventually('one more is pending', async () =>
        (await looks.metrics()).includes(`saga_consumer_pending ${num_pending + 1}\n`),
      );
    } finally {
      await bus.manager.consumers.delete('EVENTS', durable);
    }
  });
});

describe('The database', () => {
  const open = async () => {
    const client = new pg.Client({ connectionString: system.databases.payment?.url });
    await client.connect();
    return client;
  };

  test('shows what stands prepared, and since when', async () => {
    const branches = () => metric('payment', /^saga_in_doubt_branches/);
    const age = () => metric('payment', /^saga_in_doubt_oldest_seconds/);
    const client = await open();
    try {
      await eventually('nothing is prepared', async () => (await branches()) === 0 && (await age()) === 0);
      await client.query(`begin; select pg_advisory_xact_lock(1); prepare transaction 'metrics-test'`);
      await eventually('one is old', async () => (await branches()) === 1 && (await age()) > 1);
    } finally {
      await client.query(`rollback prepared 'metrics-test'`);
      await client.end();
    }
    await eventually('nothing is prepared again', async () => (await branches()) === 0);
  });

  test('shows who waits for a lock', async () => {
    const waits = () => metric('payment', /^saga_lock_waits/);
    const [holder, waiter] = await Promise.all([open(), open()]);
    await holder.query('select pg_advisory_lock(7)');
    const waiting = waiter.query('select pg_advisory_lock(7)');
    await eventually('one waits', async () => (await waits()) === 1);
    await holder.end();
    await waiting;
    await waiter.end();
    await eventually('nobody waits', async () => (await waits()) === 0);
  });

  test('shows the transactions that are not over, at the coordinator', async () => {
    const running = () => metric('coordinator', /^two_phase_open_transactions/);
    const age = () => metric('coordinator', /^two_phase_open_oldest_seconds/);
    await eventually('none is open', async () => (await running()) === 0);
    const faults = [{ at: 'coordinator.before-decision', do: 'delay', ms: 3_500 } as const];
    const placing = placeIn2pc({ ...somebodys(), faults });
    await eventually('one is open', async () => (await running()) === 1 && (await age()) > 1);
    expect((await placing).status).toBe(201);
    await eventually('none is open again', async () => (await running()) === 0 && (await age()) === 0);
  });
});
