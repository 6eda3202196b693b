/**
 * Clients that mean harm (F30, F31): bytes that are no HTTP, requests with two readings, bodies broken at random,
 * thousands of keys. Every one is told no in the one form, nobody else notices, and the process that served them all
 * is the same as before. Slow clients and sizes: test/security/http; answers that nobody reads: test/unit/pipelining;
 * single fields: test/journeys/bad-input; forged events: test/security/broker and test/journeys/bus.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { call, endOf, get, orderBody, type ProblemBody, place, system } from '../support/api.ts';
import { expectInvariants, invariants } from '../support/invariants.ts';
import { sendRaw } from '../support/raw-http.ts';

const slowMs = 90_000;
const pidOf = (part: string) => runningLab(system.home).parts[part]?.process?.pid;
const ordersNow = async () => (await invariants()).rules.find(({ id }) => id === 'I4')?.checked;

let gatewayPid: number | undefined;
let orderPid: number | undefined;
let ordersBefore: number | undefined;
beforeAll(async () => {
  [gatewayPid, orderPid, ordersBefore] = [pidOf('gateway'), pidOf('order'), await ordersNow()];
});
afterAll(async () => {
  expect([pidOf('gateway'), pidOf('order')]).toEqual([gatewayPid, orderPid]);
  // Nothing of all this was an order.
  expect(await ordersNow()).toBe(ordersBefore);
  expect(await endOf((await place()).orderId)).toMatchObject({ status: 'DISPATCHED' });
  await expectInvariants();
});

const json = 'content-type: application/json\r\n';
const body = JSON.stringify(orderBody());
const post = (headers: string, content: string) =>
  `POST /api/orders HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n${headers}\r\n${content}`;
const sized = (length: number | string) => `${json}content-length: ${length}\r\n`;
const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;

describe('F30: A request that can be read in two ways, or in none', () => {
  test.each<[string, string]>([
    ['two lengths', post(`${sized(body.length)}content-length: 5\r\n`, body)],
    ['a length and chunks', post(`${sized(body.length)}transfer-encoding: chunked\r\n`, chunk(body))],
    ['a length below zero', post(sized(-1), body)],
    ['a length that is no number', post(sized('1e3'), body)],
    ['chunks of no size', post(`${json}transfer-encoding: chunked\r\n`, `zz\r\n${body}\r\n0\r\n\r\n`)],
    ['a line break in a header', post(`${sized(body.length)}x-a: a\rb: c\r\n`, body)],
    ['U+0000 in a header', post(`${sized(body.length)}x-a: a\u0000b\r\n`, body)],
    ['a header without a name', post(`${sized(body.length)}: a\r\n`, body)],
    ['another protocol', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a TLS handshake', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000'],
    ['a method that is none', `EAT /api/orders HTTP/1.1\r\nhost: lab\r\n\r\n`],
    ['no host', `GET /api/stock HTTP/1.1\r\nconnection: close\r\n\r\n`],
    ['a space in its URL', `GET /api/st ock HTTP/1.1\r\nhost: lab\r\n\r\n`],
  ])('by %s is refused', async (_, bytes) => {
    const { status, text } = await sendRaw(bytes);
    expect(status, text).toBeGreaterThanOrEqual(400);
    expect(status, text).toBeLessThan(500);
  });

  test('because it smuggles a second one behind it, has only the first one read', async () => {
    const smuggled = post(sized(body.length), body);
    const { status, text } = await sendRaw(
      post(`${sized(4)}transfer-encoding: chunked\r\n`, `0\r\n\r\n${smuggled}`),
    );
    expect(status, text).toBe(400);
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });

  test('and is too long in chunks, is cut off like any other', async () => {
    const pieces = Array.from({ length: 80 }, () => chunk('x'.repeat(1_024))).join('');
    const { status, code } = await sendRaw(
      post(`${json}transfer-encoding: chunked\r\n`, `${pieces}0\r\n\r\n`),
    );
    expect([status, code]).toEqual([413, 'body-too-large']);
  });
});

describe('F30: A body that was broken at random', () => {
  const seed = 20_261_121;
  const casesMax = 600;
  const atOnce = 30;

  test(`is refused with a problem, and nothing of it stands (seed ${seed})`, {
    timeout: slowMs,
  }, async () => {
    const next = randomFrom(seed);
    const cases = Array.from({ length: casesMax }, () => broken(body, next));
    const strange: string[] = [];
    for (let from = 0; from < cases.length; from += atOnce) {
      const answers = await Promise.all(
        cases.slice(from, from + atOnce).map((raw) => call<ProblemBody>('POST', '/api/orders', { raw })),
      );
      answers.forEach(({ status, headers, body: problem }, index) => {
        const isProblem =
          headers.get('content-type')?.startsWith('application/problem+json') && problem.status === status;
        if (status >= 400 && status < 500 && isProblem) return;
        strange.push(`${status} to ${cases[from + index]?.toString('latin1')}`);
      });
    }
    expect(strange).toEqual([]);
  });
});

describe('F31: Ten thousand keys', () => {
  test('of orders that cannot be are all answered, and none stays in the way', {
    timeout: slowMs,
  }, async () => {
    const refused = orderBody({ items: [{ dishId: 'no-such-dish', quantity: 1 }] });
    const keys = Array.from({ length: 10_000 }, (_, index) => `hostile-${index}`);
    const before = await residentBytes();
    const codes = new Map<string, number>();
    for (let from = 0; from < keys.length; from += 100) {
      const answers = await Promise.all(
        keys
          .slice(from, from + 100)
          .map((key) =>
            call<ProblemBody>('POST', '/api/orders', { body: refused, headers: { 'idempotency-key': key } }),
          ),
      );
      for (const { body: problem } of answers) codes.set(problem.code, (codes.get(problem.code) ?? 0) + 1);
    }
    expect([...codes]).toEqual([['unknown-dish', keys.length]]);
    // A key is remembered while its request is in flight, and not after.
    const again = await call<ProblemBody>('POST', '/api/orders', {
      body: refused,
      headers: { 'idempotency-key': 'hostile-0' },
    });
    expect(again.body.code).toBe('unknown-dish');
    expect((await residentBytes()) - before).toBeLessThan(150 * 1024 * 1024);
  });
});

async function residentBytes(): Promise<number> {
  const page = await get<string>('/metrics');
  return Number(/^process_resident_memory_bytes\{[^}]*\} (\S+)$/m.exec(page)?.[1]);
}

/** mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Never an order: whatever else happens to it, its dish is unknown. */
function broken(text: string, next: () => number): Buffer {
  const unknown = text.replace('masala-dosa', 'no-such-dish');
  const bytes = [...Buffer.from(unknown)];
  const changes = 1 + Math.floor(next() * 4);
  for (let change = 0; change < changes; change++) {
    const at = Math.floor(next() * bytes.length);
    const kind = next();
    if (kind < 0.3) bytes[at] = Math.floor(next() * 256);
    else if (kind < 0.5) bytes.splice(at, 1 + Math.floor(next() * 8));
    else if (kind < 0.7) bytes.splice(at, 0, ...Buffer.from(pick(nasty, next)));
    else if (kind < 0.85) bytes.splice(at, 0, ...bytes.slice(0, Math.floor(next() * 40)));
    else bytes.length = at;
  }
  return Buffer.from(bytes);
}

const nasty = ['1e309', '-0', '\\ud800', '\u0000', '__proto__', '{"$":[]}', 'null', '\uFEFF', '""', '[[[['];
const pick = <Value>(values: readonly Value[], next: () => number): Value =>
  values[Math.floor(next() * values.length)] as Value;
