/**
 * The commands and the newer routes of the gateway, against one real lab. It has more than 250 lines, because a
 * second file would start a second lab.
 */
import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiRoutes } from '#libs/contracts/api.ts';
import { parseEvent } from '#libs/contracts/events.ts';
import { main } from '../../infra/lab/cli.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { listen } from './listener.ts';
import { eventually, type Place, place } from './support.ts';
import { testTwoPhaseCommands } from './two-phase-commands.ts';

const launchMsMax = 60_000;
const testMsMax = 20_000;

let where: Place;
let lab: Lab;
/** Stands in for Jaeger's query API: it knows one trace. */
const knownTrace = 'a'.repeat(32);
const jaeger = createServer((request, response) => {
  const isKnown = request.url === `/api/traces/${knownTrace}`;
  response.writeHead(isKnown ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(isKnown ? { data: [{ traceID: knownTrace }] } : { data: null }));
});

beforeAll(async () => {
  where = await place();
  await new Promise<void>((resolve) => jaeger.listen(where.portBase + 40, '127.0.0.1', resolve));
  const { home, portBase } = where;
  const env = { JAEGER_URL: `http://127.0.0.1:${portBase + 40}` };
  lab = await launchLab({ home, portBase, gatewayPort: portBase, env });
}, launchMsMax);

afterAll(async () => {
  await lab?.close();
  jaeger.close();
  await where[Symbol.asyncDispose]();
}, launchMsMax);

/** In this process: a process per command line would cost more than all that they do. cli.test.ts has those. */
async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const lines: Record<'out' | 'err', string[]> = { out: [], err: [] };
  const io = {
    out: (line: string) => void lines.out.push(line),
    err: (line: string) => void lines.err.push(line),
  };
  const status = await main([...args, '--home', where.home], io);
  const text = (all: string[]) => all.map((line) => `${line}\n`).join('');
  return { status, out: text(lines.out), err: text(lines.err) };
}

// biome-ignore lint/suspicious/noExplicitAny: what a program reads from --json, each test looks at its own fields.
const json = async (...args: string[]): Promise<any> => JSON.parse((await run(...args, '--json')).out);

describe('lab order', { timeout: testMsMax }, () => {
  test('places an order, waits for its end and tells it in causal order', async () => {
    const { status, out } = await run('order', '--quantity', '2', '--wait', '5s', '--timeline');
    expect(status).toBe(0);
    expect(out).toMatch(/^status {2}DISPATCHED$/m);
    expect(out).toMatch(/^total {3}₹240\.00$/m);
    const steps = [...out.matchAll(/^\d+ +\w+ +(\S+) +done/gm)].map(([, step]) => step);
    const own = steps.filter((step) => !step?.startsWith('notification.'));
    expect(own.join(' ')).toBe(
      'order.place payment.charge inventory.reserve order.confirm logistics.assign order.dispatch',
    );
  });

  test('gives programs the same as JSON, and the same order for the same key', async () => {
    const args = [
      'order',
      '--item',
      'masala-dosa:2',
      '--item',
      'dish-001:1',
      '--key',
      'twice',
      '--wait',
      '5',
    ];
    const [first, second] = [await json(...args), await json(...args)];
    expect(first).toMatchObject({ status: 'DISPATCHED', total: 24_000 + 8_000, reason: null });
    expect(second).toEqual(first);
  });

  test('tells a refusal with its field, and exits with 1', async () => {
    const { status, err } = await run('order', '--dish', 'no-such-dish');
    expect({ status, err }).toEqual({ status: 1, err: expect.stringContaining('422 unknown-dish') });
    expect(err).toContain('items.0.dishId: no dish no-such-dish');
    expect(await json('order', '--city', 'atlantis')).toMatchObject({
      code: 'request-refused',
      problem: { code: 'unknown-city' },
    });
  });

  test('exits with 1 when the end does not come in time', async () => {
    const { status, out } = await run('order', '--fault', 'payment.charge=delay:2500', '--wait', '1s');
    expect(status).toBe(1);
    expect(out).toContain('not at its end within 1 s; follow it with: npx lab watch');
  });
});

describe('lab watch', { timeout: testMsMax }, () => {
  test('follows an order from its beginning to its end, each line once and after its cause', async () => {
    const faults = ['--fault', 'logistics.assign=refuse', '--fault', 'payment.charge=delay:400'];
    const { orderId } = await json('order', ...faults);
    const { status, out } = await run('watch', orderId, '--json');
    expect(status).toBe(0);
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.at(-1)).toMatchObject({ order: { status: 'CANCELLED' }, ended: true });
    const items = lines.slice(0, -1).map(({ item }) => item);
    expect(new Set(items.map(({ step }) => step)).size).toBe(items.length);
    expect(items.map(({ step }) => step)).toEqual(
      expect.arrayContaining(['inventory.release', 'payment.refund']),
    );
    for (const [index, { causationId }] of items.entries()) {
      const cause = items.findIndex(({ eventId }) => eventId === causationId);
      expect(cause).toBeLessThan(index);
    }
  });

  test('gives up after its timeout with 1, and refuses what is no order', async () => {
    const { orderId } = await json('order', '--fault', 'inventory.reserve=delay:3000');
    expect(await run('watch', orderId, '--timeout', '300ms')).toMatchObject({
      status: 1,
      err: expect.stringContaining('not at its end after 300ms'),
    });
    expect((await run('watch', crypto.randomUUID())).err).toContain('404 not-found');
    expect((await run('watch')).status).toBe(2);
  });
});

describe('lab break and heal', { timeout: testMsMax }, () => {
  test('put a fault where it is asked for, count it, and end it', async () => {
    const fault = await json('break', 'payment.charge', '--customer', 'customer-0007', '--hits', '5');
    expect(fault).toMatchObject({ at: 'payment.charge', do: 'refuse', hitsMax: 5 });
    const order = await json('order', '--customer', 'customer-0007', '--wait', '5');
    expect(order).toMatchObject({ status: 'CANCELLED', reason: 'injected refusal at payment.charge' });
    expect(await json('order', '--customer', 'customer-0008', '--wait', '5')).toMatchObject({ reason: null });
    expect((await json('break', '--list')).faults).toMatchObject([{ id: fault.id, hits: 1 }]);
    expect(await run('heal', fault.id)).toMatchObject({ status: 0, out: `ended: ${fault.id}\n` });
    expect(await run('heal', fault.id)).toMatchObject({ status: 1, err: expect.stringContaining('not set') });
    expect((await run('break', '--list')).out).toBe('no fault is set\n');
  });

  test('keep every fault when many are put at once, and heal ends all', async () => {
    const points = ['payment.charge', 'inventory.reserve', 'logistics.assign'];
    await Promise.all(points.map((point) => run('break', point, '--order', crypto.randomUUID())));
    const { healed } = await json('heal');
    expect(healed).toHaveLength(points.length);
    expect((await json('break', '--list')).faults).toEqual([]);
  });

  test('take the action as a word, a crash as one crash, and an end in time', async () => {
    const order = crypto.randomUUID();
    const until = '2099-01-31T18:00:00.000Z';
    const at = 'payment.charge.before-commit';
    expect(await json('break', at, 'crash', '--order', order)).toMatchObject({ at, do: 'crash', hitsMax: 1 });
    const hang = await json('break', at, 'hang', '--order', order, '--until', until);
    expect(hang).toMatchObject({ do: 'hang', until, scope: { orderId: order } });
    expect(hang.hitsMax).toBeUndefined();
    expect(await run('break', at, 'crsh')).toMatchObject({
      status: 2,
      err: expect.stringContaining('Did you mean crash?'),
    });
    const wrong = [
      ['crash', '--do', 'hang'],
      ['hang', '--until', 'soon'],
    ];
    for (const words of wrong) expect((await run('break', at, ...words)).status).toBe(2);
    await run('heal');
  });

  test('list the points, and suggest the one that was meant', async () => {
    expect((await run('break')).out).toMatch(
      /^inventory\.reserve +refuse error delay hang +inventory\.failed/m,
    );
    expect(await run('break', 'inventry.reserve')).toMatchObject({
      status: 2,
      err: expect.stringContaining('Did you mean inventory.reserve?'),
    });
    expect((await run('break', 'payment.refund', '--do', 'refuse')).status).toBe(2);
    expect((await run('break', 'payment.charge', '--share', '7')).status).toBe(2);
  });
});

describe('The gateway', { timeout: testMsMax }, () => {
  test('tells events as they are published, and goes on where a listener left', async () => {
    await using first = await listen(lab.url, '/api/events');
    const { orderId } = await json('order', '--customer', 'ravi', '--wait', '5');
    await eventually('the end is heard', () => first.types().includes('order.cancelled') || undefined);
    expect(first.types()).toEqual(['order.placement.requested', 'payment.failed', 'order.cancelled']);
    expect(first.events().map(({ data }) => parseEvent(data).ok)).toEqual([true, true, true]);

    await using again = await listen(lab.url, `/api/events?orderId=${orderId}`, first.events()[0]?.id);
    await eventually('the rest is heard', () => again.types().length > 1 || undefined);
    expect(again.types()).toEqual(['payment.failed', 'order.cancelled']);

    await lab.restart('nats');
    await lab.ready();
    await json('order', '--customer', 'ravi', '--wait', '5');
    await eventually(
      'events are heard after the broker was away',
      () => first.types().length > 3 || undefined,
    );
    expect(again.types()).toHaveLength(2);
  });

  test('takes a listener in while the broker is away, and tells what comes when it is back', async () => {
    await lab.kill('nats', 'SIGKILL', { hold: true });
    await using early = await listen(lab.url, '/api/events');
    await lab.start('nats');
    await lab.ready();
    await eventually('something is heard', async () => {
      await json('order', '--customer', 'ravi', '--wait', '5');
      return early.types().length > 0 || undefined;
    });
  });

  test('refuses a listener that asks for what there is not', async () => {
    const { status, body } = await get('/api/events', { 'last-event-id': 'yesterday' });
    expect({ status, errors: body.errors }).toMatchObject({
      status: 400,
      errors: [{ field: 'last-event-id' }],
    });
  });

  test('passes traces on from Jaeger', async () => {
    expect((await get(`/api/traces/${knownTrace}`)).body).toEqual({ data: [{ traceID: knownTrace }] });
    expect(await get(`/api/traces/${'b'.repeat(32)}`)).toMatchObject({
      status: 404,
      body: { code: 'not-found' },
    });
  });

  test('answers every list as its row says', async () => {
    const { orderId } = await json('order', '--wait', '5');
    const ids: Record<string, string> = {
      orderId,
      customerId: 'asha',
      dishId: 'masala-dosa',
      traceId: knownTrace,
    };
    for (const { id, method, path, answers } of apiRoutes) {
      const schema = answers[200]?.schema;
      if (method !== 'GET' || !schema || id === 'getDeadLetter') continue; // There is none here.
      const { status, body } = await get(path.replaceAll(/:(\w+)/g, (_, name) => ids[name] ?? ''));
      expect({ id, status }).toEqual({ id, status: 200 });
      // What the schema does not know is left out by the parse: then the answer says more than its document.
      expect({ id, body: schema.parse(body) }).toEqual({ id, body });
    }
  });
});

testTwoPhaseCommands({ run, json, home: () => where.home });

describe('lab check', { timeout: testMsMax }, () => {
  test('says which invariants hold', async () => {
    await eventually(
      'all orders are at their end',
      async () => (await json('check', '--settled')).holds || undefined,
    );
    const { status, out } = await run('check', '--settled');
    expect(status).toBe(0);
    expect(out).toMatch(/^I1 +holds +\d+ +Money/m);
    expect(out).toMatch(/^all \d+ hold/m);
  });

  test('exits with 1 on a violation and shows it', async () => {
    const { orderId } = await json('order', '--fault', 'payment.charge=delay:3000');
    const { status, out } = await run('check', '--settled');
    expect(status).toBe(1);
    expect(out).toMatch(/^I12 +VIOLATED/m);
    expect(out).toContain(`${orderId}: still PENDING`);
  });
});

async function get(path: string, headers: Record<string, string> = {}) {
  const response = await fetch(new URL(path, lab.url), { headers });
  // biome-ignore lint/suspicious/noExplicitAny: each test looks at its own fields.
  return { status: response.status, body: (await response.json()) as any };
}
