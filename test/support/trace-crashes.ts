/** What crashes leave of a trace: no orphan, spans that are told again, a second attempt, a repeat that says so. */
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { connectNats } from '#libs/nats/connect.ts';
import { createPublisher } from '#libs/nats/publish.ts';
import { eventually } from './eventually.ts';
import { type Span, sagaEdges } from './trace-shape.ts';
import { everyone, expectTrace, place, type TraceWorld } from './trace-world.ts';

type World = () => TraceWorld;

const storyMsMax = 40_000;
/** The broker gives a message to somebody else after 30 s without a sign of life. */
const redeliveryMsMax = 90_000;

async function rowsOf<Row extends pg.QueryResultRow>(
  { lab }: TraceWorld,
  database: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: lab.databases[database]?.auditUrl });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

const ran = (world: TraceWorld, database: string, orderId: string) =>
  eventually(`${database} has a journal entry of ${orderId}`, async () => {
    const found = await rowsOf(world, database, 'select 1 from journal where order_id = $1', [orderId]);
    return found.length > 0;
  });

const retoldIn = (spans: readonly Span[]) =>
  spans
    .filter(({ attributes }) => attributes['saga.retold'] === 'true')
    .map(({ service, name }) => `${service}: ${name}`)
    .sort();

/** Long enough that whoever waits behind it is not there yet when somebody is killed. */
const held = (at: string) => [{ at, do: 'delay' as const, ms: 2_500 }];
const whole = { edges: sagaEdges({}), services: everyone };

export function crashStories(world: World): void {
  describe('The trace of an order', { timeout: storyMsMax }, () => {
    test('that the order service took in and died is told again, from the request on', async () => {
      const { orderId } = await place(world(), { faults: held('payment.charge') }, 'wait=0');
      await world().lab.kill('order');
      const spans = await expectTrace(world(), orderId, whole);
      expect(retoldIn(spans)).toEqual(['order: order.place', 'order: send order.placement.requested']);
    });

    test('of which an event comes twice shows the repeat, and nothing that follows from it', async () => {
      const { orderId } = await place(world());
      const [row] = await rowsOf<{ subject: string; body: string }>(
        world(),
        'payment',
        `select subject, body from outbox where body like '%' || $1 || '%'`,
        [orderId],
      );
      const { url, monitorUrl } = world().lab.nats;
      const connection = await connectNats({ url, name: 'a duplicate', monitorUrl, unsafe: false });
      await createPublisher(connection)({ messageId: crypto.randomUUID(), subject: '', body: '', ...row });
      await connection.drain();
      const repeatIn = (spans: readonly Span[]) =>
        spans.filter(({ attributes }) => attributes['saga.repeat'] === 'true');
      const spans = await eventually('the repeat is told', async () => {
        const found = await expectTrace(world(), orderId, whole);
        return repeatIn(found).length > 0 ? found : undefined;
      });
      const [repeat, ...more] = repeatIn(spans);
      expect(more).toEqual([]);
      expect(repeat).toMatchObject({ service: 'inventory', name: `process ${row?.subject}` });
      expect(repeat?.attributes).toMatchObject({
        'saga.outcome': 'repeat',
        'saga.step': 'inventory.reserve',
      });
      expect(
        spans.filter(({ parentId }) => parentId === repeat?.spanId && /^send/.test(repeat.name)),
      ).toEqual([]);
    });
  });

  test('A service that is killed leaves a gap and a second attempt, and what it had said is told again', {
    timeout: redeliveryMsMax,
  }, async () => {
    const beforeIts = await place(world(), { faults: held('payment.charge') }, 'wait=0');
    const afterIts = await place(world(), { faults: held('inventory.reserve') }, 'wait=0');
    await ran(world(), 'payment', afterIts.orderId);
    await world().lab.kill('payment');

    const told = await expectTrace(world(), afterIts.orderId, whole);
    expect(retoldIn(told)).toEqual([
      'payment: process order.placement.requested',
      'payment: send payment.completed',
    ]);
    const again = await expectTrace(world(), beforeIts.orderId, whole);
    const charges = again.filter(({ attributes }) => attributes['saga.step'] === 'payment.charge');
    // Of the first attempt nobody could tell anything: that is the gap.
    expect(charges.map(({ attributes }) => attributes['saga.attempt'])).toEqual(['2']);
    expect(retoldIn(again)).toEqual([]);
  });
}
