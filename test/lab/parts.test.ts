/** Parts killed, paused, stopped and started by other processes, and clients that mean no good. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { main } from '../../infra/lab/cli.ts';
import { labControl } from '../../infra/lab/control/client.ts';
import { runningLab } from '../../infra/lab/home.ts';
import { type Lab, launchLab } from '../../infra/lab/launch.ts';
import { signalProcess } from '../../infra/lab/process.ts';
import { descendants, isAlive } from '../../infra/lab/process-table.ts';
import { eventually, type Place, place, serviceOnly, tinyTopology } from './support.ts';

const slowMs = 40_000;
let at: Place;
let lab: Lab;

beforeAll(async () => {
  at = await place();
  const { home, portBase } = at;
  lab = await launchLab({ home, portBase, gatewayPort: portBase + 2, parts: tinyTopology });
}, slowMs);

afterAll(async () => {
  await lab?.close();
  await at?.[Symbol.asyncDispose]();
}, slowMs);

async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const io = { out: (line: string) => void out.push(line), err: (line: string) => void err.push(line) };
  const status = await main([...args, '--home', at.home], io);
  return { status, out: out.join('\n'), err: err.join('\n') };
}

// biome-ignore lint/suspicious/noExplicitAny: what a program reads from --json, each test looks at its own fields.
const json = async (...args: string[]): Promise<any> => JSON.parse((await run(...args, '--json')).out);
const processOf = (part: string) => runningLab(at.home).parts[part]?.process ?? undefined;
const running = (part: string) => {
  const found = processOf(part);
  if (found) return found;
  throw new Error(`${part} is not running`);
};
const stateOf = (pid: number) => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];

const everyKind = ['order', 'gateway', 'order-db', 'nats'];

describe('A part', { timeout: slowMs }, () => {
  afterEach(() => labControl(at.home).heal());

  test.each(everyKind)('%s is killed, and started again as another process', async (part) => {
    const before = processOf(part);
    const answer = await json('kill', part);
    expect(answer).toMatchObject({
      act: 'kill',
      parts: [{ name: part, held: false, pidBefore: before?.pid }],
    });
    expect(before && isAlive(before)).toBe(false);
    await labControl(at.home).ready();
    expect(processOf(part)?.pid).not.toBe(before?.pid);
  });

  test.skipIf(process.platform !== 'linux').each(everyKind)(
    '%s stands still with all its children until it goes on',
    async (part) => {
      const { pid } = running(part);
      expect(await json('pause', part)).toMatchObject({ parts: [{ state: 'paused', pid }] });
      const all = [pid, ...descendants(pid)];
      if (part === 'order-db') expect(all.length).toBeGreaterThan(4);
      // A child that has ended waits for a parent that stands still.
      expect(all.map(stateOf).filter((state) => state !== 'T' && state !== 'Z')).toEqual([]);
      const { status, out } = await run('status');
      expect({ status, out }).toMatchObject({ status: 1, out: expect.stringMatching(`${part} +paused`) });
      await run('resume', part);
      await labControl(at.home).ready();
      expect(processOf(part)?.pid).toBe(pid);
      expect(all.filter((each) => existsSync(`/proc/${each}`)).map(stateOf)).not.toContain('T');
    },
  );

  test('stays down when it is stopped, or killed to be held, until it is started', async () => {
    const before = processOf('order');
    expect(await json('stop', 'order')).toMatchObject({ parts: [{ state: 'down', held: true, pid: null }] });
    expect(await json('kill', 'nats', '--hold')).toMatchObject({ parts: [{ state: 'down', held: true }] });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect([processOf('order'), processOf('nats')]).toEqual([undefined, undefined]);
    const { parts } = await json('start', 'order', 'nats');
    expect(parts).toMatchObject([{ state: 'ready' }, { state: 'ready' }]);
    expect(processOf('order')?.pid).not.toBe(before?.pid);
  });

  test('is restarted in good order', async () => {
    const before = processOf('order-db');
    expect(await json('restart', 'order-db')).toMatchObject({ parts: [{ state: 'ready', held: false }] });
    expect(processOf('order-db')?.pid).not.toBe(before?.pid);
    const log = readFileSync(`${at.home}/logs/order-db.log`, 'utf8');
    expect(log).toContain('database system is shut down');
  });

  test('is one process, however many ask at once that it ends and begins', async () => {
    const control = labControl(at.home);
    const acts = (['stop', 'start', 'kill', 'restart', 'start', 'stop', 'kill', 'start'] as const).map(
      // Between two lives there may be nothing to kill; and what one starts another may stop before it is ready.
      (act) =>
        control
          .act('gateway', act)
          .catch((error) => expect(error.code).toMatch(/^(not-running|part-not-ready)$/)),
    );
    await Promise.all(acts);
    await control.act('gateway', 'start');
    const pid = processOf('gateway')?.pid;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(processOf('gateway')?.pid).toBe(pid);
    const main = 'tiny-service.ts';
    const children = descendants(process.pid).filter((each) =>
      readFileSync(`/proc/${each}/cmdline`, 'utf8').includes(main),
    );
    expect(children).toHaveLength(2);
  });
});

describe('lab heal', { timeout: slowMs }, () => {
  test('lets go on what stands still, and starts what is down, whoever did it', async () => {
    await run('pause', 'order-db');
    await run('stop', 'nats', 'order');
    // Not by the launcher, which finds it all the same.
    signalProcess(running('gateway'), 'SIGSTOP');
    const healed = await labControl(at.home).heal();
    expect(healed.resumed.sort()).toEqual(['gateway', 'order-db']);
    expect(healed.started.sort()).toEqual(['nats', 'order']);
    expect((await labControl(at.home).parts()).map(({ state }) => state)).toEqual(
      lab.parts.map(() => 'ready'),
    );
  });
});

describe('A command line', () => {
  test('that names no part there is says which there are, before anything is touched', async () => {
    const before = processOf('order');
    const { status, err } = await run('kill', 'order', 'ordr-db');
    expect(status).toBe(2);
    expect(err).toContain('Did you mean order-db');
    expect(err).toContain('The parts are: order, gateway, order-db, payment-db, nats');
    expect(processOf('order')).toEqual(before);
    expect((await run('kill')).status).toBe(2);
  });

  test('that asks for what a part cannot do now exits with 1', async () => {
    await run('stop', 'payment-db');
    const { status, out } = await run('pause', 'payment-db', '--json');
    expect({ status, ...JSON.parse(out) }).toMatchObject({ status: 1, code: 'not-running' });
    await run('start', 'payment-db');
  });

  test('for links of a lab without any says how to get them', async () => {
    expect(await run('links')).toMatchObject({ status: 0, out: expect.stringContaining('--proxies') });
    expect(await run('link', 'order', 'nats', 'cut')).toMatchObject({
      status: 1,
      err: expect.stringContaining('--proxies'),
    });
    for (const wrong of [['cutt'], ['latency'], ['slow', 'much'], ['cut', '5'], ['pass', '--jitter', '5']]) {
      expect((await run('link', 'order', 'nats', ...wrong)).status, wrong.join(' ')).toBe(2);
    }
  });
});

test('A home with a path too long for a socket has its socket elsewhere, and takes it away', {
  timeout: slowMs,
}, async () => {
  await using other = await place();
  const home = join(other.home, 'x'.repeat(120));
  const { portBase } = other;
  const far = await launchLab({ home, portBase, gatewayPort: portBase + 2, parts: serviceOnly });
  const { control } = runningLab(home);
  try {
    expect(control.startsWith(home)).toBe(false);
    expect((await labControl(home).parts()).map(({ name }) => name)).toEqual(['gateway', 'nats']);
  } finally {
    await far.close();
  }
  expect(existsSync(dirname(control))).toBe(false);
});

describe('The launcher', { timeout: slowMs }, () => {
  const address = () => runningLab(at.home).control;
  const send = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(address());
      let answer = '';
      socket.setEncoding('utf8').on('data', (piece) => (answer += piece));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(answer));
      socket.write(text);
    });
  const post = (path: string, body: string) =>
    send(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);

  test('lets only its owner in', () => {
    expect(statSync(address()).mode & 0o777).toBe(0o600);
  });

  test.each([
    ['no HTTP', '\x00\x01garbage\r\n\r\n'],
    ['half a request', 'POST /parts/order/kill HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{'],
  ])('hangs up on %s', async (_, text) => {
    expect(await send(text)).toBe('');
  });

  test.each([
    ['an act that there is not', '/parts/order/explode', ''],
    ['a part that there is not', '/parts/nobody/kill', ''],
    ['a body that is no JSON', '/parts/order/kill', '{'],
    ['a body of something else', '/parts/order/kill', '{"signal":9}'],
    ['a body without an end', '/parts/order/kill', `"${'x'.repeat(20_000)}"`],
    ['a way that there is not', '/', ''],
    ['a name that cannot be read', '/parts/%ff/kill', ''],
  ])('refuses %s', async (_, path, body) => {
    const before = processOf('order');
    expect(await post(path, body)).toContain('400 Bad Request');
    expect(processOf('order')).toEqual(before);
  });

  test('does what it was asked by somebody who did not stay', async () => {
    const before = processOf('order');
    const socket = connect(address());
    socket.end('POST /parts/order/kill HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n');
    await eventually('another process', () => {
      const now = processOf('order');
      return now !== undefined && now.pid !== before?.pid;
    });
    await labControl(at.home).ready();
  });

  test('answers others while many hold a connection and say nothing', async () => {
    const sockets = Array.from({ length: 40 }, () => connect(address()));
    try {
      expect((await labControl(at.home).parts()).length).toBe(lab.parts.length);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});
