/** What a hostile client meets: bounds in time and size, each with the answer of every other refusal. */
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHttp, type FastifyInstance } from '#libs/service/http.ts';
import { limitRate } from '#services/console/rate-limit.ts';
import { call, type ProblemBody, system } from '../support/api.ts';

const headersWithinMs = 5_000;
const requestWithinMs = 10_000;
/** The server looks once a second, and this machine may be busy. */
const slackMs = 4_000;
const dripMs = 400;

const gateway = Number(new URL(system.url).port);

type Ending = { afterMs: number; answer: string };

/** Sends the first part, then drips a byte now and then; resolves when the server has closed the connection. */
function drip(port: number, first: string, byte: string): Promise<Ending> {
  const startedMs = performance.now();
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  return new Promise((resolve) => {
    const timer = setInterval(() => socket.writable && socket.write(byte), dripMs);
    socket.on('connect', () => socket.write(first));
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('error', () => {}); // Cut off while we write: that is what is looked at.
    socket.on('close', () => {
      clearInterval(timer);
      resolve({ afterMs: performance.now() - startedMs, answer });
    });
  });
}

function expectProblem({ answer }: Ending, status: number, code: string): void {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(head.toLowerCase()).toContain('content-type: application/problem+json');
  expect(JSON.parse(body)).toMatchObject({ status, code, type: `/problems/${code}` });
}

describe.concurrent('F31: A request that is sent slowly', () => {
  test.each([
    ['in its headers', 'POST /api/orders HTTP/1.1\r\nhost: lab\r\nx-slow: ', 'a', headersWithinMs],
    ['and never begins', '', '', headersWithinMs],
    [
      'in its body',
      'POST /api/orders HTTP/1.1\r\nhost: lab\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{',
      ' ',
      requestWithinMs,
    ],
  ])('%s is cut off in time', { timeout: 30_000 }, async (_, first, byte, withinMs) => {
    const ending = await drip(gateway, first, byte);
    expectProblem(ending, 408, 'request-timeout');
    expect(ending.afterMs).toBeGreaterThan(withinMs - slackMs);
    expect(ending.afterMs).toBeLessThan(withinMs + slackMs);
  });

  test('holds nobody else up, and an answer may be later than any of these', {
    timeout: 30_000,
  }, async () => {
    const app = createHttp({ logger: pino({ level: 'silent' }), health, metrics });
    app.get('/late', async () => {
      await new Promise((resolve) => setTimeout(resolve, requestWithinMs + 2_500));
      return { late: true };
    });
    const port = await listen(app);
    const slow = Array.from({ length: 200 }, () => drip(gateway, 'GET / HTTP/1.1\r\nx: ', 'a'));
    const asked = performance.now();
    expect((await call('GET', '/api/stock')).status).toBe(200);
    expect(performance.now() - asked).toBeLessThan(slackMs);
    const answer = await fetch(`http://127.0.0.1:${port}/late`);
    expect([answer.status, await answer.json()]).toEqual([200, { late: true }]);
    for (const ending of await Promise.all(slow)) expectProblem(ending, 408, 'request-timeout');
    await app.close();
  });
});

describe('A request that is too large', () => {
  test('in its headers is refused', async () => {
    const large = `GET /api/stock HTTP/1.1\r\nhost: lab\r\nx-large: ${'a'.repeat(20_000)}\r\n\r\n`;
    expectProblem(await drip(gateway, large, ''), 431, 'headers-too-large');
  });

  test('in its body is refused, at the gateway and behind it', async () => {
    const raw = JSON.stringify({ customerId: 'a'.repeat(64 * 1024) });
    for (const path of ['/api/orders', '/api/orders/01a1fe29-2928-7d5d-9fb9-e073c7130602/cancel']) {
      const answer = await call<ProblemBody>('POST', path, { raw });
      expect([answer.status, answer.body.code]).toEqual([413, 'body-too-large']);
    }
  });

  test('or is none at all is refused like any other', async () => {
    expectProblem(await drip(gateway, 'HELLO\r\n\r\n', ''), 400, 'invalid-request');
  });
});

const health = async () => ({ ready: true, detail: {} });
const metrics = async () => '';

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 });
  return (app.server.address() as { port: number }).port;
}

test('More connections than there may be are refused, and those that stand go on', async () => {
  const app = createHttp({ logger: pino({ level: 'silent' }), health, metrics, connectionsMax: 3 });
  const port = await listen(app);
  const sockets: Socket[] = [];
  const opened = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const socket = connect(port, '127.0.0.1');
      sockets.push(socket);
      return new Promise<string>((resolve) => {
        socket.on('connect', () => socket.write('GET /livez HTTP/1.1\r\nhost: lab\r\n\r\n'));
        socket.on('data', (chunk) => resolve(String(chunk).slice(0, 12)));
        socket.on('error', () => resolve('refused'));
        socket.on('close', () => resolve('refused'));
      });
    }),
  );
  expect(opened.sort()).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 200', 'refused', 'refused']);
  for (const socket of sockets) socket.destroy();
  await app.close();
});

describe('More requests than a minute may have', () => {
  let app: FastifyInstance;
  let url: string;
  beforeAll(async () => {
    app = createHttp({ logger: pino({ level: 'silent' }), health, metrics, trustedProxies: ['127.0.0.1'] });
    await limitRate(app, 3);
    app.get('/api/stock', async () => ({ items: [] }));
    url = `http://127.0.0.1:${await listen(app)}`;
  });
  afterAll(() => app.close());
  const ask = (path: string, from: string) => fetch(url + path, { headers: { 'x-forwarded-for': from } });

  test('are answered with when to come again, address by address', async () => {
    for (let count = 0; count < 3; count++) expect((await ask('/api/stock', '10.0.0.1')).status).toBe(200);
    const answer = await ask('/api/stock', '10.0.0.1');
    expect(answer.status).toBe(429);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect(await answer.json()).toMatchObject({ status: 429, code: 'too-many-requests' });
    expect((await ask('/api/stock', '10.0.0.2')).status).toBe(200);
  });

  test('do not count questions after health', async () => {
    for (let count = 0; count < 10; count++) expect((await ask('/livez', '10.0.0.1')).status).toBe(200);
  });

  test('are all taken where there is no limit, and no hook is added', async () => {
    const open = createHttp({ logger: pino({ level: 'silent' }), health, metrics });
    await limitRate(open, 0);
    expect(open.hasPlugin('@fastify/rate-limit')).toBe(false);
    expect(app.hasPlugin('@fastify/rate-limit')).toBe(true);
    await open.close();
  });
});
