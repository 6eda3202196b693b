import { randomUUID, randomUUIDv7 } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Message } from '#libs/nats/publish.ts';
import { runThenCommit } from '#libs/postgres/transaction.ts';
import { missingRanges, newestOf, returnHoles, returnRange } from '#libs/step/forgotten.ts';
import { claimUnpublished, markPublished } from '#libs/step/outbox.ts';
import { startRelay } from '#libs/step/relay.ts';
import { payment } from '#services/payment/service.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

const hourMs = 60 * 60 * 1_000;
const now = Date.now();
const ago = (ms: number) => new Date(now - ms);
const youngest = ago(0);
/** What is older may be gone because of its age. */
const since = ago(24 * hourMs);
let world: World;

beforeAll(async () => {
  world = await openWorld(inject('adminUrl'), payment);
});
beforeEach(() => world.query('truncate outbox'));
afterAll(() => world[Symbol.asyncDispose]());

const insert = async (
  subject: string,
  sequence: number | null,
  publishedAt: Date | null,
): Promise<string> => {
  const id = randomUUIDv7();
  await world.query(
    `insert into outbox (message_id, subject, events, body, created_at, published_at, stream_sequence)
     values ($1, $2, 0, '[]', $3, $4, $5)`,
    [id, subject, publishedAt ?? youngest, publishedAt, sequence],
  );
  return id;
};
const newest = (subjects: string[], first: number) =>
  runThenCommit(world.pool, (tx) => newestOf(tx, subjects, first, since));
const waiting = async () =>
  (await world.query<{ id: string }>('select message_id as id from outbox where published_at is null')).map(
    ({ id }) => id,
  );

describe('What the outbox says that the stream must have', () => {
  test('is the last sequence of each subject, and what lies before the beginning', async () => {
    for (const sequence of [3, 5, 9]) await insert('payment.completed', sequence, youngest);
    await insert('payment.failed', 7, youngest);
    const subjects = ['payment.completed', 'payment.failed', 'payment.refunded'];
    expect(await newest(subjects, 1)).toEqual([
      { subject: 'payment.completed', last: 9, before: 0 },
      { subject: 'payment.failed', last: 7, before: 0 },
      { subject: 'payment.refunded', last: 0, before: 0 },
    ]);
    expect((await newest(subjects, 6)).map(({ before }) => before)).toEqual([5, 0, 0]);
  });

  test('leaves out what is as old as the stream keeps, what is not published and what has no sequence', async () => {
    await insert('payment.completed', 4, ago(25 * hourMs));
    await insert('payment.failed', 8, null);
    await insert('payment.refunded', null, youngest);
    const subjects = ['payment.completed', 'payment.failed', 'payment.refunded'];
    expect((await newest(subjects, 100)).map(({ last, before }) => last + before)).toEqual([0, 0, 0]);
  });
});

describe('What is missing', () => {
  const subject = 'payment.completed';
  test.each([
    { what: 'nothing', last: 9, before: 0, end: 9, first: 1, ranges: [] },
    { what: 'nothing, while more comes', last: 9, before: 0, end: 12, first: 1, ranges: [] },
    { what: 'the tail', last: 9, before: 0, end: 4, first: 1, ranges: [{ subject, after: 4, upTo: 9 }] },
    { what: 'the head', last: 9, before: 5, end: 9, first: 7, ranges: [{ subject, after: 0, upTo: 6 }] },
    {
      what: 'all',
      last: 9,
      before: 9,
      end: 0,
      first: 10,
      ranges: [
        { subject, after: 0, upTo: 9 },
        { subject, after: 0, upTo: 9 },
      ],
    },
  ])('is $what', ({ last, before, end, first, ranges }) => {
    expect(missingRanges([{ subject, last, before }], [end], first)).toEqual(ranges);
  });
});

describe('What goes back to the outbox', () => {
  test('is the range of its subject, in rounds, and nothing that is too old', async () => {
    const lost: string[] = [];
    for (const sequence of [5, 6, 7]) lost.push(await insert('payment.completed', sequence, youngest));
    await insert('payment.completed', 4, youngest);
    await insert('payment.completed', 8, youngest);
    await insert('payment.failed', 6, youngest);
    await insert('payment.completed', 7, ago(25 * hourMs));
    const range = { subject: 'payment.completed', after: 4, upTo: 7 };
    const round = () => runThenCommit(world.pool, (tx) => returnRange(tx, range, since, 2));
    const rounds = [await round(), await round(), await round()];
    expect(rounds.map(({ length }) => length)).toEqual([2, 1, 0]);
    expect(rounds.flat().sort()).toEqual(lost.sort());
    expect((await waiting()).sort()).toEqual(lost.sort());
  });

  test('is, of what is marked late, only what the broker had before it lost something, and each once', async () => {
    const lost = await insert('payment.completed', 5, ago(2_000));
    const before = await insert('payment.completed', 6, ago(3_000));
    await insert('payment.completed', 7, youngest);
    const range = { subject: 'payment.completed', after: 4, upTo: 9 };
    const late = { before: ago(1_000), taken: [before] };
    expect(await runThenCommit(world.pool, (tx) => returnRange(tx, range, since, 10, late))).toEqual([lost]);
    expect(await waiting()).toEqual([lost]);
  });

  test('is what stood in a hole', async () => {
    await insert('payment.completed', 5, youngest);
    const lost = await insert('payment.failed', 6, youngest);
    await insert('order.confirmed', 7, youngest);
    const subjects = ['payment.completed', 'payment.failed'];
    const round = () => runThenCommit(world.pool, (tx) => returnHoles(tx, subjects, [6, 7], since, 10));
    expect([await round(), await round()]).toEqual([[lost], []]);
    expect(await waiting()).toEqual([lost]);
  });

  test('is published under an id that the broker cannot know, once for each loss, and has a new place', async () => {
    const id = await insert('payment.completed', 5, null);
    const never = await insert('payment.completed', null, null);
    const sent: string[] = [];
    const relay = startRelay({
      pool: world.pool,
      publish: async ({ messageId }: Message) => 40 + sent.push(messageId),
      now: () => new Date(Date.now() + 60_000),
      losses: () => 0,
      onRelayed: () => {},
      onTrouble: () => {},
    });
    await eventually('both are marked', async () => (await waiting()).length === 0);
    await relay.stop();
    expect(sent.sort()).toEqual([`${id}/5`, never].sort());
    const rows = await world.query<{ sequence: number }>(
      'select stream_sequence as sequence from outbox order by 1',
    );
    expect(rows).toEqual([{ sequence: 41 }, { sequence: 42 }]);
  });
});

test('What was lost a second time, from the place that it got again, is no repeat', async () => {
  const id = await insert('payment.completed', 7, null);
  // A broker that has purged it, and remembers its id: it answers with the place where it stood.
  const known = new Map([[`${id}/7`, 7]]);
  const relay = startRelay({
    pool: world.pool,
    publish: async ({ messageId }: Message) => {
      const sequence = known.get(messageId) ?? 8;
      known.set(messageId, sequence);
      return sequence;
    },
    now: () => new Date(Date.now() + 60_000),
    losses: () => 0,
    onRelayed: () => {},
    onTrouble: () => {},
  });
  await eventually('it is marked', async () => (await waiting()).length === 0);
  await relay.stop();
  const rows = await world.query<{ at: string }>('select stream_sequence as at from outbox');
  expect(rows.map(({ at }) => Number(at))).toEqual([8]);
});

describe('F9: A row that is committed after a younger one was published', () => {
  test('is published all the same: there is no cursor that could have passed it', async () => {
    const [older, younger] = [randomUUID(), randomUUID()];
    const insertInto = `insert into outbox (message_id, subject, events, body, created_at) values ($1, 's', 0, '[]', $2)`;
    const open = await world.pool.connect();
    await open.query('begin');
    await open.query(insertInto, [older, ago(5_000)]);
    await world.query(insertInto, [younger, ago(4_000)]);
    const claimAndMark = () =>
      runThenCommit(world.pool, async (tx) => {
        const rows = await claimUnpublished(tx, new Date(), 0, 10);
        const storedAt = new Date();
        await markPublished(
          tx,
          rows.map(({ messageId }, index) => ({ messageId, sequence: index + 1, storedAt })),
        );
        return rows.map(({ messageId }) => messageId);
      });
    expect(await claimAndMark()).toEqual([younger]);
    await open.query('commit');
    open.release();
    expect(await claimAndMark()).toEqual([older]);
    expect(await claimAndMark()).toEqual([]);
  });
});
