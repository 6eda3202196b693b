/** Each mode of a link, between real clients and a real PostgreSQL and NATS: it bites, it counts, and it can be ended. */
import { connect as connectNats } from '@nats-io/transport-node';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { LinkMode } from '#libs/contracts/parts.ts';
import { readNatsUrl } from '#libs/nats/address.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { environmentOf, inTime, pause, silence, withClient } from './patience.ts';
import { eventually, type Place, place, tinyTopology } from './support.ts';

const slowMs = 30_000;
let at: Place;
let lab: Lab;
/** As the process `order` is told them: by its own links. */
let linked: { DATABASE_URL: string; NATS_URL: string };

beforeAll(async () => {
  at = await place();
  const { home, portBase } = at;
  lab = await launchLab({ home, portBase, gatewayPort: portBase + 2, parts: tinyTopology, proxies: true });
  linked = await environmentOf<typeof linked>(portBase + 1);
  await withClient(direct(), (client) => client.query('create table mark (id text primary key)'));
}, slowMs);

afterAll(async () => {
  await lab?.close();
  await at?.[Symbol.asyncDispose]();
}, slowMs);

afterEach(() => lab.link('all', 'all', { mode: 'pass' }));

const direct = () => lab.databases.order?.url ?? '';
const set = (mode: LinkMode, server = 'order-db') => lab.link('order', server, mode);
const stateOf = async (server = 'order-db') => {
  const found = (await lab.links()).find((link) => link.client === 'order' && link.server === server);
  if (!found) throw new Error(`no link to ${server}`);
  return found;
};

const mark = (client: pg.Client, id: string) => client.query('insert into mark values ($1)', [id]);
const isMarked = (id: string) =>
  withClient(direct(), async (client) => {
    return (await client.query('select from mark where id = $1', [id])).rowCount === 1;
  });

describe('A lab with links', () => {
  test('tells each process its own way to each server, and others the servers themselves', async () => {
    const gateway = await environmentOf<{ ORDER_AUDIT_URL: string; NATS_URL: string }>(at.portBase + 2);
    const ports = [linked.DATABASE_URL, linked.NATS_URL, gateway.ORDER_AUDIT_URL, gateway.NATS_URL].map(
      (url) => Number(new URL(url).port),
    );
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(at.portBase + 60);
    expect(new Set(ports).size).toBe(ports.length);
    expect(Number(new URL(direct()).port)).toBe(at.portBase + 11);
    expect((await lab.links()).map(({ client, server }) => `${client} ${server}`)).toEqual([
      'order order-db',
      'order nats',
      'gateway order-db',
      'gateway payment-db',
      'gateway nats',
    ]);
  });

  test('refuses a link that there is not, and says which there are', async () => {
    await expect(lab.link('order', 'payment-db', { mode: 'cut' })).rejects.toThrow('order-db, nats');
    await expect(lab.link('ordre', 'nats', { mode: 'cut' })).rejects.toThrow('Did you mean order?');
  });
});

describe('A link to a database', () => {
  test('that is cut holds everything back, and loses nothing that is asked again by TCP', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await client.query('select 1');
      await set({ mode: 'cut' });
      const marking = mark(client, 'cut');
      expect(await inTime(marking)).toBe(silence);
      expect(await isMarked('cut')).toBe(false);
      expect((await stateOf()).hits).toBeGreaterThan(0);
      await set({ mode: 'pass' });
      expect((await marking).rowCount).toBe(1);
    });
  });

  test('that is cut lets no new connection come about, while other processes go on', async () => {
    await lab.link('order', 'all', { mode: 'cut' });
    await expect(withClient(linked.DATABASE_URL, async () => undefined)).rejects.toThrow('timeout');
    expect((await stateOf()).hits).toBe(1);
    const gateway = await environmentOf<{ ORDER_AUDIT_URL: string }>(at.portBase + 2);
    await withClient(gateway.ORDER_AUDIT_URL, (client) => client.query('select 1'));
  });

  test('that is cut towards the server loses the request, and the other way the answer', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'cut-up' });
      const first = mark(client, 'up');
      expect(await inTime(first)).toBe(silence);
      expect(await isMarked('up')).toBe(false);
      await set({ mode: 'pass' });
      await first;

      await set({ mode: 'cut-down' });
      const second = mark(client, 'down');
      expect(await inTime(second)).toBe(silence);
      expect(await isMarked('down')).toBe(true);
      expect((await stateOf()).hits).toBeGreaterThan(0);
      await set({ mode: 'pass' });
      expect((await second).rowCount).toBe(1);
    });
  });

  test('delays each direction', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'latency', ms: 150, jitterMs: 0, seed: 1 });
      const startedMs = performance.now();
      await client.query('select 1');
      const tookMs = performance.now() - startedMs;
      expect(tookMs).toBeGreaterThanOrEqual(295);
      expect((await stateOf()).hits).toBe(2);
    });
  });

  test('lets only so many bytes a second through, in pieces', async () => {
    const bytes = 20_000;
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'slow', bytesPerSecond: bytes });
      const before = await stateOf();
      const startedMs = performance.now();
      const { rows } = await client.query(`select repeat('x', ${bytes}) as text`);
      const tookMs = performance.now() - startedMs;
      expect(rows[0].text).toHaveLength(bytes);
      const { bytesDown } = await stateOf();
      expect(bytesDown - before.bytesDown).toBeGreaterThan(bytes);
      // All of it but the first piece had to wait for its turn.
      expect(tookMs).toBeGreaterThan(900);
    });
  });

  test('cuts what it carries into slices, which changes nothing', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'slice', bytes: 3 });
      const { rows } = await client.query(
        `select string_agg(n::text, ',') as text from generate_series(1, 500) n`,
      );
      expect(rows[0].text).toBe(Array.from({ length: 500 }, (_, index) => index + 1).join());
      expect((await stateOf()).hits).toBeGreaterThan(0);
    });
  });

  test('that is reset breaks what stands, and takes in what comes', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      const { resets } = await stateOf();
      const answer = client.query('select pg_sleep(5)').catch((error) => error.code);
      await pause(50);
      await set({ mode: 'reset' });
      expect(await answer).toBe('ECONNRESET');
      expect(await stateOf()).toMatchObject({ mode: { mode: 'pass' }, resets: resets + 1 });
    });
    await withClient(linked.DATABASE_URL, (client) => client.query('select 1'));
  });

  test('breaks at once when the server is down', async () => {
    await lab.stop('order-db');
    await expect(withClient(linked.DATABASE_URL, async () => undefined)).rejects.toThrow('ECONNRESET');
    await lab.start('order-db');
    await withClient(linked.DATABASE_URL, (client) => client.query('select 1'));
  });
});

describe('The answer to a COMMIT', () => {
  const commits = async (client: pg.Client, id: string) => {
    await client.query('begin');
    await mark(client, id);
    return client.query('commit').then(
      () => 'answered',
      (error) => error.code,
    );
  };

  test('is lost: what was asked has taken effect, and the client never hears of it', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'drop-answers', after: 'COMMIT', times: 1, end: 'silence' });
      const committing = commits(client, 'silence');
      expect(await inTime(committing)).toBe(silence);
      expect(await isMarked('silence')).toBe(true);
      expect((await stateOf()).hits).toBe(1);
      // Only the first: another connection is answered.
      await withClient(linked.DATABASE_URL, async (other) => {
        expect(await commits(other, 'other')).toBe('answered');
      });
      // Something is missing from the stream for good: it ends instead of going on.
      await set({ mode: 'pass' });
      expect(await committing).toBe('ECONNRESET');
    });
  });

  test('is lost with the connection', async () => {
    await withClient(linked.DATABASE_URL, async (client) => {
      await set({ mode: 'drop-answers', after: 'commit', times: 1, end: 'reset' });
      expect(await commits(client, 'reset')).toBe('ECONNRESET');
      expect(await isMarked('reset')).toBe(true);
      expect((await stateOf()).hits).toBe(1);
    });
  });
});

describe('A link to the broker', () => {
  test('that is cut lets nothing through until it is healed; reset, the client connects again', async () => {
    const connection = await connectNats({ ...readNatsUrl(linked.NATS_URL), reconnectTimeWait: 50 });
    try {
      await connection.rtt();
      await set({ mode: 'cut' }, 'nats');
      const answer = connection.rtt().then(() => 'answered');
      expect(await inTime(answer)).toBe(silence);
      expect((await stateOf('nats')).hits).toBeGreaterThan(0);
      await set({ mode: 'pass' }, 'nats');
      expect(await answer).toBe('answered');

      await set({ mode: 'reset' }, 'nats');
      expect((await stateOf('nats')).resets).toBe(1);
      await eventually('the client is back', async () => {
        return (await connection.rtt().catch(() => undefined)) !== undefined || undefined;
      });
    } finally {
      await connection.close();
    }
  });
});

test('The links come back after a kill, and let everything pass', { timeout: slowMs }, async () => {
  await set({ mode: 'cut' });
  await lab.kill('links');
  await lab.ready();
  expect((await stateOf()).mode).toEqual({ mode: 'pass' });
  await withClient(linked.DATABASE_URL, (client) => client.query('select 1'));
});
