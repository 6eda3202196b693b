/** Dead letters over HTTP and on the command line: who may settle them, and how they are shown. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import type { DeadLetterItem } from '#libs/contracts/dead-letters.ts';
import { serviceNames } from '#libs/contracts/events.ts';
import { call, get, type ProblemBody, system } from '../support/api.ts';
import { type Bus, openBus } from '../support/bus.ts';
import { labCommand, labJson } from '../support/command-line.ts';
import { deadLetters } from '../support/dead-letters.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask } from '../support/service.ts';

const slowMs = 60_000;
let bus: Bus;
beforeAll(async () => {
  bus = await openBus();
});
afterEach(() => bus.clean());
afterAll(async () => {
  await bus.close();
  await expectInvariants();
});

describe('Who is no operator', () => {
  const someId = `payment:${randomUUID()}`;

  test.each(['replay', 'discard'])('cannot %s', async (action) => {
    const path = `/api/dead-letters/${someId}/${action}`;
    const foreign = await call<ProblemBody>('POST', path, { headers: { origin: 'http://evil.example' } });
    expect([foreign.status, foreign.body.code]).toEqual([403, 'forbidden-origin']);
    const wrong = await call<ProblemBody>('POST', path, { headers: { authorization: 'Bearer x' } });
    expect([wrong.status, wrong.body.code]).toEqual([403, 'admin-token-required']);
    for (const service of serviceNames) {
      const straight = await ask(service, 'POST', `/dead-letters/${randomUUID()}/${action}`);
      expect([straight.status, JSON.parse(straight.text).code]).toEqual([403, 'admin-token-required']);
    }
    const token = readAdminToken(system.home);
    const known = await call<ProblemBody>('POST', path, { headers: { authorization: `Bearer ${token}` } });
    expect([known.status, known.body.code]).toEqual([404, 'not-found']);
  });

  test.each(['payment', `nobody:${randomUUID()}`, 'payment:1', `payment:${randomUUID()}:x`])(
    'nor is anything found at %s',
    async (id) => {
      const answer = await call<ProblemBody>('GET', `/api/dead-letters/${encodeURIComponent(id)}`);
      expect([answer.status, answer.body.code]).toEqual([404, 'not-found']);
    },
  );
});

describe('npx lab dead-letters', () => {
  test('lists, shows, replays and discards', { timeout: slowMs }, async () => {
    for (const count of [1, 2]) await bus.publish('payment.completed', `no JSON ${count}`, randomUUID());
    await eventually(
      'both are set aside',
      async () => (await deadLetters('?service=inventory')).length === 2,
    );
    const listed = await labJson('dead-letters', '--service', 'inventory');
    expect(listed.items).toHaveLength(2);
    expect(listed.missing).toEqual([]);
    const [{ id }] = listed.items;
    expect((await labCommand('dead-letters')).out).toContain(id);
    expect((await labCommand('dead-letters', 'show', id)).out).toMatch(/^header Nats-Msg-Id +/m);
    expect(await labJson('dead-letters', 'show', id)).toMatchObject({ id, headers: expect.any(Object) });

    const failed = await labCommand('dead-letters', 'replay', id);
    expect(failed).toMatchObject({ status: 1, err: expect.stringContaining('409 replay-failed') });
    const all = await labCommand('dead-letters', 'discard', '--all', '--service', 'inventory');
    expect(all).toMatchObject({ status: 0, out: expect.stringContaining(`${id}: discarded`) });
    expect((await labCommand('dead-letters', 'list', '--service', 'inventory')).out).toContain(
      'no open dead letter',
    );
    const kept = await labJson('dead-letters', '--all', '--service', 'inventory');
    expect(kept.items.map((item: DeadLetterItem) => item.state)).toContain('discarded');
  });

  test('shows them page by page, each once, the newest first', async () => {
    const page = async (cursor: string) =>
      get<{ items: DeadLetterItem[]; nextCursor: string | null }>(
        `/api/dead-letters?state=all&limit=1${cursor === '' ? '' : `&cursor=${cursor}`}`,
      );
    const found: string[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const { items, nextCursor } = await page(cursor);
      expect(items.length).toBeLessThanOrEqual(1);
      found.push(...items.map(({ id }) => id));
      cursor = nextCursor;
    }
    const whole = (await deadLetters('?state=all&limit=200')).map(({ id }) => id);
    expect(found).toEqual(whole);
    expect(whole.length).toBeGreaterThan(1);
  });
});
