/** One suite that every service passes: what they share is tested once, and a new service joins the list. */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getTableName, is } from 'drizzle-orm';
import { getTableConfig, PgTable } from 'drizzle-orm/pg-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isOk } from '#lab/nats.ts';
import { repository } from '#lab/topology.ts';
import { eventTypeNames } from '#libs/contracts/events.ts';
import { definitions } from '../infra/generate/flow.ts';
import { endOf, get, type ProblemBody, place, stepOf, system, timelineOf } from './support/api.ts';
import { type Bus, openBus, type StoredMessage } from './support/bus.ts';
import { killPart, labReady } from './support/control.ts';
import { eventually } from './support/eventually.ts';
import { expectInvariants } from './support/invariants.ts';
import { ask, metric, query } from './support/service.ts';
import { startService, startUnsafeBroker } from './support/unsafe-broker.ts';

const commonFiles = [
  'decide.ts',
  'main.ts',
  'migrations',
  'reactions.ts',
  'routes.ts',
  'schema.ts',
  'seed.ts',
  'service.ts',
  'step.ts',
];
/** What only one service needs, and why it is a file of its own. */
const ownFiles: Record<string, string[]> = {
  order: ['cause.ts', 'clock.ts', 'deadline.ts', 'menu.ts', 'place.ts'],
};
const mainLinesMax = 20;
const stopWithinMs = 8_000;

let bus: Bus;
/** Messages of an order that went well and of one that was taken back: something for every service to hear. */
let stories: StoredMessage[];
let orderIds: string[];

beforeAll(async () => {
  bus = await openBus();
  const from = (await bus.lastSequence()) + 1;
  const placed = [await place(), await place({ city: 'lonavala' }), await place({ customerId: 'ravi' })];
  orderIds = placed.map(({ orderId }) => orderId);
  await Promise.all(orderIds.map((orderId) => endOf(orderId)));
  await stepOf(orderIds[0] ?? '', 'notification.notify-dispatched');
  await stepOf(orderIds[1] ?? '', 'notification.notify-cancelled');
  await stepOf(orderIds[2] ?? '', 'notification.notify-cancelled');
  stories = await bus.messagesFrom(from);
});
afterAll(async () => {
  await bus.clean();
  await bus.close();
  await labReady();
  await expectInvariants();
});

describe.each(definitions)('The service $name', (definition) => {
  const { name, reactions } = definition;
  const folder = join(repository, 'services', name);
  const heard = reactions.map(({ on }) => on as string).filter((on) => !on.startsWith('request:'));

  test('has the same files as every other', () => {
    expect(readdirSync(folder).sort()).toEqual([...commonFiles, ...(ownFiles[name] ?? [])].sort());
    const main = readFileSync(join(folder, 'main.ts'), 'utf8');
    expect(main.split('\n').length).toBeLessThan(mainLinesMax);
  });

  test('is defined as data: its name, its migrations, and reactions with steps of its own', () => {
    expect(existsSync(join(definition.migrations, 'meta/_journal.json'))).toBe(true);
    expect(definition.migrations).toBe(join(folder, 'migrations'));
    expect(reactions.length).toBeGreaterThan(0);
    for (const { on, step, direction, done } of reactions) {
      expect(eventTypeNames.includes(on as never) || on.startsWith('request:'), on).toBe(true);
      expect(step.name.startsWith(`${name}.`), step.name).toBe(true);
      if (step.undoName) expect(step.undoName.startsWith(`${name}.`), step.undoName).toBe(true);
      else expect('coveredBy' in step && step.coveredBy.length, step.name).toBeGreaterThan(0);
      if (direction === 'undo') expect(step.undo).toBeTypeOf('function');
      if (done) expect(done.say.startsWith(`${name}.`), done.say).toBe(true);
    }
  });

  test('has a database that its migrations brought to its schema', async () => {
    const schema: Record<string, unknown> = await import(join(folder, 'schema.ts'));
    const tables = Object.values(schema).filter((value) => is(value, PgTable));
    expect(tables.map(getTableName)).toEqual(expect.arrayContaining(['journal', 'outbox']));
    const columns = await query<{ table_name: string; column_name: string; is_nullable: string }>(
      name,
      `select table_name, column_name, is_nullable from information_schema.columns where table_schema = 'public'`,
    );
    const found = columns.map((row) => `${row.table_name}.${row.column_name} ${row.is_nullable}`);
    const wanted = tables.flatMap((table) =>
      getTableConfig(table).columns.map((column) => {
        const isNullable = column.notNull || column.primary ? 'NO' : 'YES';
        return `${getTableName(table)}.${snakeCase(column.name)} ${isNullable}`;
      }),
    );
    expect(found.sort()).toEqual(wanted.sort());
  });

  test('owns its database without being a superuser', async () => {
    const rows = await query(
      name,
      `select current_user as name, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
       from pg_roles where rolname = current_user`,
    );
    expect(rows).toEqual([
      {
        name,
        rolsuper: false,
        rolcreaterole: false,
        rolcreatedb: false,
        rolreplication: false,
        rolbypassrls: false,
      },
    ]);
  });

  test('says on its own port that it lives, is ready, and how it does', async () => {
    expect(await ask(name, 'GET', '/livez')).toMatchObject({ status: 200, text: '{"live":true}' });
    const ready = await ask(name, 'GET', '/readyz');
    expect([ready.status, JSON.parse(ready.text)]).toEqual([
      200,
      {
        ready: true,
        detail: { database: 'up', broker: 'up', consumer: 'up', stream: expect.stringMatching(/^whole/) },
      },
    ]);
    const metrics = await ask(name, 'GET', '/metrics');
    expect(metrics).toMatchObject({ status: 200, type: expect.stringMatching(/^text\/plain/) });
    for (const one of ['saga_steps_total', 'saga_batch_size', 'saga_waiting', 'process_cpu_seconds_total']) {
      expect(metrics.text).toContain(`# TYPE ${one} `);
    }
    expect(metrics.text).toContain(`service="${name}"`);
    expect(metrics.text).not.toContain(orderIds[0]);
  });

  test('tells what it did about an order', async () => {
    const answer = await ask(name, 'GET', `/journal/${orderIds[0]}`);
    const { items } = JSON.parse(answer.text);
    expect(items.length).toBeGreaterThan(0);
    for (const item of items) expect(item).toMatchObject({ service: name, outcome: 'done', attempt: 1 });
    expect(JSON.parse((await ask(name, 'GET', `/journal/${randomUUID()}`)).text)).toEqual({ items: [] });
  });

  test.each<[string, string, string | undefined, number, string]>([
    ['GET', '/journal/nonsense', undefined, 400, 'invalid-request'],
    ['GET', '/nothing', undefined, 404, 'not-found'],
    ['GET', '/journal/%zz', undefined, 400, 'invalid-url'],
    ['POST', '/nothing', '{"broken', 400, 'invalid-json'],
    ['POST', '/nothing', JSON.stringify('x'.repeat(80_000)), 413, 'body-too-large'],
  ])('answers %s %s with a problem', async (method, path, body, status, code) => {
    const answer = await ask(name, method, path, body);
    expect(answer.type).toMatch(/^application\/problem\+json/);
    const problem = JSON.parse(answer.text) as ProblemBody;
    expect([answer.status, problem.status, problem.code]).toEqual([status, status, code]);
  });

  test('takes a message that it has handled before for what it is', async () => {
    const own = stories.filter(({ subject }) => heard.includes(subject));
    expect(own.length).toBeGreaterThan(0);
    const before = await Promise.all(orderIds.map((orderId) => timelineOf(orderId)));
    const repeats = () => metric(name, /^saga_steps_total\{.*outcome="repeat"/);
    const repeatsBefore = await repeats();
    for (const { subject, body } of own) await bus.publish(subject, body, randomUUID());
    await eventually('the repeats are counted', async () => (await repeats()) >= repeatsBefore + own.length);
    expect(await Promise.all(orderIds.map((orderId) => timelineOf(orderId)))).toEqual(before);
  });

  test('dead-letters a message of a foreign schema with its reason, and handles what comes after', async () => {
    const subject = heard.at(-1) ?? '';
    const messageId = randomUUID();
    const handled = () => metric(name, /^saga_steps_total\{/);
    const handledBefore = await handled();
    await bus.publish(subject, JSON.stringify([{ specversion: '1.0', hello: 'world' }]), messageId);
    const good = stories.find((message) => heard.includes(message.subject)) as StoredMessage;
    await bus.publish(good.subject, good.body, randomUUID());
    const letter = await eventually('a dead letter', async () => {
      const { items } = await get<{ items: Record<string, string>[] }>('/api/dead-letters?limit=200');
      return items.find((item) => item.messageId === messageId && item.service === name);
    });
    expect(letter).toMatchObject({ subject, reason: expect.stringMatching(/^id: /) });
    await eventually('the next one is handled', async () => (await handled()) > handledBefore);
  });
});

describe('Every service that is asked to end', () => {
  test('ends by itself within its bound, and comes back', async () => {
    const endings = () =>
      readFileSync(system.launcherLog, 'utf8')
        .split('\n')
        .filter((line) => line.includes('ended unasked'));
    const before = endings().length;
    const askedMs = Date.now();
    await Promise.all(definitions.map(({ name }) => killPart(name, 'SIGTERM')));
    expect(Date.now() - askedMs).toBeLessThan(stopWithinMs);
    const heard = endings()
      .slice(before)
      .map((line) => line.replace(/;.*/, ''));
    expect(heard.sort()).toEqual(definitions.map(({ name }) => `${name} ended unasked (exit code 0)`).sort());
    await labReady();
  });
});

describe('A broker that acknowledges before it syncs', () => {
  test('is refused by a service, and taken when told to', async () => {
    await using broker = await startUnsafeBroker(system.portBase + 40);
    const port = system.portBase + 42;
    const envOf = (name: string, unsafe: string) => ({
      SERVICE_PORT: String(port),
      DATABASE_URL: system.databases[name]?.url ?? '',
      NATS_URL: broker.url,
      NATS_MONITOR_URL: broker.monitorUrl,
      NATS_UNSAFE: unsafe,
    });
    const refusals = definitions.map(({ name }) => startService(name, envOf(name, '0')));
    for (const { exited } of refusals) {
      const { code, output } = await exited;
      expect([code, output]).toEqual([1, expect.stringContaining('sync_interval: always')]);
      expect(output).toContain('NATS_UNSAFE=1');
    }
    // Only this one, because it says nothing: another's relay would publish the lab's outbox to this broker.
    const taken = startService('notification', envOf('notification', '1'));
    try {
      await eventually('it is ready', () => isOk(`http://127.0.0.1:${port}/readyz`));
    } finally {
      await taken.stop();
    }
  });
});

const snakeCase = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
