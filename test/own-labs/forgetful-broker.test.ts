/**
 * A broker that forgets what it has acknowledged, under a load of orders of both protocols: the services notice, what
 * was lost is published again, consumers go on, and at the end every order has come to its end exactly once.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { type ForgetfulLab, launchForgetful, publishers } from '../support/forgetful.ts';
import type { SteadyLoad } from '../support/steady-load.ts';

const portBase = 27_600;
/** Before the fault, and again after it, of each protocol. */
const endedEnough = 4;
const endedWithinMs = 30_000;
const noticedWithinMs = 10_000;
const faultMs = 90_000;

let lab: ForgetfulLab;
let load: SteadyLoad;
let failed = false;

beforeAll(async () => {
  lab = await launchForgetful(portBase);
});
beforeEach(async () => {
  load = lab.load();
  await ordersEnd(0);
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') failed = true;
  await load.stop();
});
afterAll(() => lab?.close(failed));

const ordersEnd = (since: number) =>
  eventually(
    'orders of both protocols end',
    () => {
      const ended = load.endedSince(since);
      if (ended.saga >= endedEnough && ended['2pc'] >= endedEnough) return true;
      throw new Error(JSON.stringify(ended));
    },
    endedWithinMs,
  );

/** The load goes on for a while; when it has stopped, every order is at its end and nothing is violated. */
async function allIsWell(): Promise<void> {
  await ordersEnd(Date.now());
  await load.stop();
  expect(await lab.violations()).toEqual([]);
  const answers = load.orders.map(({ answer }) => answer?.status);
  expect(answers.filter((status) => status === undefined)).toEqual([]);
  const accepted = load.orders.filter(({ answer }) => answer?.order);
  expect(accepted.length).toBeGreaterThan(endedEnough);
}

/** More messages are said to be lost than before, in the log, in a metric and in `/readyz`. */
async function noticed(before: number): Promise<number> {
  const count = await eventually(
    'the services notice',
    async () => (await lab.forgotten()) - before || undefined,
    noticedWithinMs,
  );
  const details = await Promise.all(publishers.map((service) => lab.readiness(service)));
  expect(details.map(({ stream }) => stream).join()).toMatch(/\d+ messages were lost and published again/);
  const logs = publishers.map((service) => lab.log(service)).join('');
  expect(logs).toContain('the broker has lost what it acknowledged');
  return count;
}

test('F13: When all of its store is rolled back, then what was lost is published again', {
  timeout: faultMs,
}, async () => {
  await lab.keepCopy();
  await ordersEnd(Date.now());
  const [{ last_seq: end }, before] = [await lab.state(), await lab.forgotten()];
  const lastId = await lab.messageIdAt(end);
  const lowest = await lab.lowestEnd(lab.rollBack);
  expect(lowest).toBeLessThan(end);
  expect(await noticed(before)).toBeGreaterThan(0);
  await allIsWell();
  // Its place is another's now: sequences were used again.
  expect((await lab.state()).last_seq).toBeGreaterThan(end);
  expect(lastId).not.toBe('');
  expect(await lab.messageIdAt(end)).not.toBe(lastId);
});

test('F14: When its stream is rolled back and its consumers are not, then they are made to read what comes', {
  timeout: faultMs,
}, async () => {
  await lab.keepCopy();
  const { last_seq: kept } = await lab.state();
  await ordersEnd(Date.now());
  const before = await lab.forgotten();
  // What was under way when the broker went away is acknowledged when it comes again, after its ack wait.
  const ack_floor = await eventually('it is acknowledged beyond the copy', async () => {
    const { ack_floor } = await lab.consumer('payment');
    return ack_floor.stream_seq > kept && ack_floor;
  });
  const lowest = await lab.lowestEnd(lab.rollBackStream);
  expect(lowest).toBeLessThan(ack_floor.stream_seq);
  expect(await noticed(before)).toBeGreaterThan(0);
  await allIsWell();
  const [after, { last_seq: end }] = [await lab.consumer('payment'), await lab.state()];
  expect(after.num_pending + after.num_ack_pending).toBe(0);
  expect(after.ack_floor.stream_seq).toBeLessThanOrEqual(end);
});

test('F34: When its stream is purged, then the outboxes fill it again', { timeout: faultMs }, async () => {
  const before = await lab.forgotten();
  const counts = await Promise.all(
    publishers.map((service) => lab.sql(service, 'select 1 from outbox where published_at is not null')),
  );
  const published = counts.flat().length;
  expect(await lab.purge()).toBeGreaterThanOrEqual(published);
  await noticed(before);
  await allIsWell();
  // All of it: nothing is so old yet that the stream might have dropped it.
  expect((await lab.forgotten()) - before).toBeGreaterThanOrEqual(published);
  expect((await lab.state()).messages).toBeGreaterThanOrEqual(published);
});

test('F34: When a consumer is deleted, then its service says so, and goes on with the one that the keeper makes', {
  timeout: faultMs,
}, async () => {
  const { created } = await lab.consumer('payment');
  await lab.deleteConsumer('payment');
  await eventually('payment says so', async () =>
    (await lab.readiness('payment')).consumer === 'is missing' ? true : undefined,
  );
  const again = await eventually('it is there again', () => lab.consumer('payment').catch(() => undefined));
  expect(again.created).not.toBe(created);
  const repair = 'the keeper made the consumer payment again: it was missing';
  await eventually('the keeper says so', () => lab.said.includes(repair));
  await allIsWell();
  // It looks every two seconds.
  await eventually('payment sees it', async () =>
    (await lab.readiness('payment')).consumer === 'up' ? true : undefined,
  );
  expect(lab.log('payment')).toContain('the consumer is well again');
});

test('F15: When a byte of a block is flipped, then what it took along is published again', {
  timeout: faultMs,
}, async () => {
  const [{ last_seq: end }, before] = [await lab.state(), await lab.forgotten()];
  const lowest = await lab.lowestEnd(lab.flipByte);
  expect(lowest).toBeLessThan(end);
  expect(await noticed(before)).toBeGreaterThan(0);
  await allIsWell();
});

test('F6: When messages come again after the broker has forgotten their ids, then nothing happens twice', {
  timeout: faultMs,
}, async () => {
  await load.stop();
  const windowMs = 200;
  await lab.setDuplicateWindow(windowMs);
  await new Promise((resolve) => setTimeout(resolve, 2 * windowMs));
  const { messages: before } = await lab.state();
  let repeats = 0;
  for (const service of publishers) {
    const rows = await lab.sql(
      service,
      `update outbox set published_at = null, stream_sequence = null
       where message_id in (select message_id from outbox order by created_at desc limit 50) returning 1`,
    );
    repeats += rows.length;
  }
  expect(repeats).toBeGreaterThan(0);
  await eventually('each is in the stream twice', async () =>
    (await lab.state()).messages >= before + repeats ? true : undefined,
  );
  await lab.resetDuplicateWindow();
  load = lab.load();
  await allIsWell();
});
