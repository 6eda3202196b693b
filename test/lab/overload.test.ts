/** More than can be handled: what is taken in waits, the rest is told to come again, and nothing is lost. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { labTopology } from '../../infra/lab/topology.ts';
import { eventually } from '../support/eventually.ts';
import { openShop, type Shop } from '../support/shop.ts';
import { type Place, place } from './support.ts';

const slowMs = 120_000;
const messagesMax = 20;
/** What a client that asks one by one gets in between two counts, generously. */
const overshootMax = 400;

let where: Place;
let lab: Lab;
let shop: Shop;

beforeAll(async () => {
  where = await place();
  const { home, portBase } = where;
  const env = { OUTBOX_MESSAGES_MAX: String(messagesMax), ORDER_DEADLINE_MS: '120000' };
  lab = await launchLab({ home, portBase, gatewayPort: portBase, env });
  shop = openShop(lab.url);
}, slowMs);

afterAll(async () => {
  await lab?.close();
  await where[Symbol.asyncDispose]();
}, slowMs);

async function query<Row extends pg.QueryResultRow>(service: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: lab.databases[service]?.url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

const unpublished = async (service: string) =>
  (
    await query<{ depth: number }>(
      service,
      'select count(*)::int as depth from outbox where published_at is null',
    )
  )[0]?.depth ?? 0;

describe('While the broker is away', { timeout: slowMs }, () => {
  test('orders are taken in up to the bound, then refused with Retry-After, and all that were taken end', async () => {
    await lab.kill('nats', 'SIGKILL', { hold: true });
    const refusal = await eventually(
      'an order is refused',
      async () => {
        const asked = await shop.place();
        return asked.status === 503 && asked;
      },
      60_000,
    );
    expect(refusal).toMatchObject({ code: 'overloaded', retryAfter: '2' });
    expect(shop.accepted.size).toBeGreaterThanOrEqual(messagesMax);
    expect(await unpublished('order')).toBeLessThan(messagesMax + overshootMax);
    // It stays shut, and what is asked of it grows nothing.
    const before = await unpublished('order');
    const more = await Promise.all(Array.from({ length: 50 }, () => shop.place()));
    expect(new Set(more.map(({ code }) => code))).toEqual(new Set(['overloaded']));
    expect(await unpublished('order')).toBe(before);

    // Reading, ending what is there, and two-phase commit need no broker.
    const [orderId = ''] = shop.accepted;
    expect(await shop.get(`/api/orders/${orderId}`)).toMatchObject({ status: 'PENDING' });
    const cancelled = await fetch(new URL(`/api/orders/${orderId}/cancel`, lab.url), { method: 'POST' });
    expect(cancelled.status).toBe(202);
    expect(await shop.place({ protocol: '2pc' })).toMatchObject({
      status: 201,
      order: { status: 'DISPATCHED' },
    });

    await lab.start('nats');
    await eventually(
      'an order is accepted again',
      async () => (await shop.place({}, refusal.key)).status === 202,
    );
    const ends = await shop.settled();
    expect(ends.filter(({ status }) => status === 'CANCELLED').map((order) => order.orderId)).toEqual([
      orderId,
    ]);
    expect(await unpublished('order')).toBe(0);
  });
});

describe('While a service cannot publish', { timeout: slowMs }, () => {
  test('it takes nothing more in, and goes on when it can', async () => {
    // Just written, so that no relay publishes them before they are locked.
    const rows = `select gen_random_uuid(), 'payment.completed', 0, '[]', now() from generate_series(1, ${messagesMax})`;
    const columns = 'message_id, subject, events, body, created_at';
    const written = await query(
      'payment',
      `insert into outbox (${columns}) ${rows} returning message_id as id`,
    );
    const ids = `(${written.map(({ id }) => `'${id}'`).join()})`;
    const holder = new pg.Client({ connectionString: lab.databases.payment?.url });
    await holder.connect();
    await holder.query('begin');
    await holder.query(`select from outbox where message_id in ${ids} for update`);
    await eventually('payment says that it is full', async () => {
      const answer = await fetch(`http://127.0.0.1:${portOf('payment')}/metrics`);
      return /^saga_outbox_full\{[^}]*\} 1$/m.test(await answer.text());
    });
    // The one that it was waiting for when it became full is handled; those after it are not.
    const orders = [await shop.place(), await shop.place(), await shop.place()];
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const charged = await query(
      'payment',
      `select 1 from journal where order_id in (${orders.map(({ order }) => `'${order.orderId}'`).join()})`,
    );
    expect(charged.length).toBeLessThan(orders.length);

    await holder.query(`delete from outbox where message_id in ${ids}`);
    await holder.query('commit');
    await holder.end();
    const ends = await shop.settled();
    expect(ends.at(-1)).toMatchObject({ status: 'DISPATCHED' });
  });
});

const portOf = (service: string): number => {
  const offset = labTopology.services.find(({ name }) => name === service)?.portOffset ?? 0;
  return where.portBase + offset;
};
