/**
 * A disk that is full (F28), of a database and of the broker: nothing that was accepted is lost, everybody else is told
 * no, and once there is space it goes on by itself. Only root may make such a disk. Elsewhere this is skipped, and in
 * its place stand test/step/driver.test.ts (a database that goes away) and overload.test.ts (a broker that does).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { isOk } from '../../infra/lab/nats.ts';
import { labTopology } from '../../infra/lab/topology.ts';
import { eventually } from '../support/eventually.ts';
import { openShop, type Shop } from '../support/shop.ts';
import { canMount, onSmallDisk, type SmallDisk } from '../support/small-disk.ts';
import { type Place, place } from './support.ts';

const slowMs = 170_000;
const databaseMegabytes = 120;
const brokerMegabytes = 16;
const outboxMax = 30;
const databasePortOffset = labTopology.databases.find(({ name }) => name === 'order')?.portOffset ?? 0;

const isAble = process.platform === 'linux' && process.getuid?.() === 0 && canMount();
if (!isAble) process.stderr.write('disk-full: skipped, because only root may make a small disk\n');

describe.skipIf(!isAble)('F28: A full disk', { timeout: slowMs }, () => {
  let where: Place;
  let lab: Lab;
  let shop: Shop;
  const said: string[] = [];

  beforeAll(async () => {
    where = await place();
    const { home, portBase } = where;
    const env = { OUTBOX_MESSAGES_MAX: String(outboxMax), ORDER_DEADLINE_MS: '120000' };
    const say = (line: string) => void said.push(line);
    lab = await launchLab({ home, portBase, gatewayPort: portBase, env, say });
    shop = openShop(lab.url);
  }, slowMs);

  afterAll(async () => {
    await lab?.close();
    await where?.[Symbol.asyncDispose]();
  }, slowMs);

  async function onDisk(
    part: string,
    directory: string,
    megabytes: number,
    work: (disk: SmallDisk) => Promise<void>,
  ) {
    await lab.stop(part);
    const disk = onSmallDisk(join(where.home, directory), megabytes);
    try {
      await lab.start(part);
      await lab.ready();
      await work(disk);
    } finally {
      disk.empty();
      await lab.stop(part);
      disk[Symbol.dispose]();
      await lab.start(part);
    }
  }

  test('of a database: orders are refused, the server comes back by itself, and every accepted order ends', async () => {
    await onDisk('order-db', 'postgres/order', databaseMegabytes, async (disk) => {
      for (let count = 0; count < 5; count++) expect((await shop.place()).status).toBe(202);
      disk.fill();
      // The last log file has room for some more; then there is no next one, and PostgreSQL ends itself.
      const refusal = await eventually(
        'the server has ended for want of space, and orders are refused',
        async () => {
          await switchLog(lab.home, where.portBase);
          const asked = await shop.place();
          const hasEnded = said.some((line) => line.startsWith('order-db ended unasked'));
          return hasEnded && asked.status !== 202 && asked;
        },
        60_000,
      );
      expect([refusal.status, refusal.code]).toEqual([503, 'service-unavailable']);
      expect(readFileSync(join(lab.home, 'logs/order-db.log'), 'utf8')).toContain('No space left on device');
      const before = shop.accepted.size;
      expect(before).toBeGreaterThanOrEqual(5);

      disk.empty();
      await eventually(
        'orders are accepted again',
        async () => (await shop.place({}, refusal.key)).status === 202,
        60_000,
      );
      const ends = await shop.settled();
      expect(ends.map(({ status }) => status)).toEqual(ends.map(() => 'DISPATCHED'));
    });
  });

  test('of the broker: what is accepted waits in the outbox, then orders are refused, and all of it ends', async () => {
    const { monitorUrl } = lab.nats;
    await onDisk('nats', 'nats/store', brokerMegabytes, async (disk) => {
      expect((await shop.place()).status).toBe(202);
      disk.fill();
      const refusal = await eventually(
        'the outbox is full',
        async () => {
          const asked = await shop.place();
          return asked.status === 503 && asked;
        },
        60_000,
      );
      expect(refusal).toMatchObject({ code: 'overloaded', retryAfter: '2' });
      const orderLog = readFileSync(join(lab.home, 'logs/order.log'), 'utf8');
      expect(orderLog).toMatch(/was not stored: .*(space|resource|storage)|was not acknowledged within/);

      disk.empty();
      // From 2.14 on a broker whose disk has failed it stays shut until it is started again (docs/operations.md).
      const isFrozen = !(await isOk(`${monitorUrl}/healthz`));
      if (isFrozen) await lab.restart('nats');
      await eventually(
        'orders are accepted again',
        async () => (await shop.place({}, refusal.key)).status === 202,
        60_000,
      );
      await shop.settled();
    });
  });
});

/** Begins the next log file. Refused by a server that is down already: then there is nothing more to do. */
async function switchLog(home: string, portBase: number): Promise<void> {
  const { superuser } = JSON.parse(readFileSync(join(home, 'passwords.json'), 'utf8')) as {
    superuser: string;
  };
  const url = `postgres://postgres:${superuser}@127.0.0.1:${portBase + databasePortOffset}/postgres`;
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select pg_switch_wal()');
  } catch {
    // Down, or coming up: the caller looks at what the launcher says.
  } finally {
    await client.end().catch(() => {});
  }
}
