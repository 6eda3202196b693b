import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call, endOf, get, orderBody, type ProblemBody, place, system } from '../support/api.ts';
import { expectInvariants, invariants } from '../support/invariants.ts';
import { sendRaw } from '../support/raw-http.ts';
import { pausing } from '../support/two-phase.ts';

const good = orderBody();
const item = good.items[0];
const ordersNow = async () => (await invariants()).rules.find(({ id }) => id === 'I4')?.checked;
let ordersBefore: number | undefined;

beforeAll(async () => {
  ordersBefore = await ordersNow();
});

afterAll(async () => {
  // Nothing of all this has left a trace, and the lab goes on.
  expect(await ordersNow()).toBe(ordersBefore);
  const { orderId } = await place();
  expect(await endOf(orderId)).toMatchObject({ status: 'DISPATCHED' });
  await expectInvariants();
});

const headersOf = (extra: Record<string, string> = {}) => ({ 'content-type': 'application/json', ...extra });

function expectProblem(
  answer: { status: number; headers: Headers; body: unknown; text: string },
  expected: [number, string, string?],
) {
  const [status, code, field] = expected;
  const body = answer.body as ProblemBody;
  expect([answer.status, body.code], answer.text).toEqual([status, code]);
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(body).toMatchObject({ type: `/problems/${code}`, status, title: expect.any(String) });
  if (field !== undefined) expect(body.errors?.map((error) => error.field)).toContain(field);
}

describe('When the body of an order is wrong', () => {
  test.each<[string, unknown, [number, string, string?]]>([
    ['nothing that is needed', {}, [400, 'invalid-request', 'customerId']],
    ['null', null, [400, 'invalid-request', '(whole)']],
    ['a list', [], [400, 'invalid-request', '(whole)']],
    ['a text', 'order', [400, 'invalid-request', '(whole)']],
    ['an unknown field', { ...good, tip: 5 }, [400, 'invalid-request', 'tip']],
    [
      'an unknown dish',
      { ...good, items: [{ dishId: 'x', quantity: 1 }] },
      [422, 'unknown-dish', 'items.0.dishId'],
    ],
    ['an unknown city', { ...good, city: 'atlantis' }, [422, 'unknown-city', 'city']],
    ['no items', { ...good, items: [] }, [400, 'invalid-request', 'items']],
    [
      'zero portions',
      { ...good, items: [{ ...item, quantity: 0 }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    [
      'less than none',
      { ...good, items: [{ ...item, quantity: -3 }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    [
      'half a portion',
      { ...good, items: [{ ...item, quantity: 0.5 }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    [
      'too many',
      { ...good, items: [{ ...item, quantity: 51 }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    [
      'enormously many',
      { ...good, items: [{ ...item, quantity: 1e15 }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    [
      'a number as text',
      { ...good, items: [{ ...item, quantity: '1' }] },
      [400, 'invalid-request', 'items.0.quantity'],
    ],
    ['one dish in two lines', { ...good, items: [item, item] }, [400, 'invalid-request', 'items']],
    ['21 lines', { ...good, items: Array(21).fill(item) }, [400, 'invalid-request', 'items']],
    ['no customer', { ...good, customerId: '' }, [400, 'invalid-request', 'customerId']],
    ['a very long customer', { ...good, customerId: 'x'.repeat(61) }, [400, 'invalid-request', 'customerId']],
    ['a customer with U+0000', { ...good, customerId: 'a\u0000b' }, [400, 'invalid-request', 'customerId']],
    ['half a surrogate pair', { ...good, customerId: '\ud800' }, [400, 'invalid-request', 'customerId']],
    ['another protocol', { ...good, protocol: '3pc' }, [400, 'invalid-request', 'protocol']],
    [
      'an unknown fault point',
      { ...good, faults: [{ at: 'a.b', do: 'error' }] },
      [422, 'unknown-fault-point', 'faults.0'],
    ],
    [
      'a fault that cannot be',
      { ...good, faults: [{ at: 'payment.refund', do: 'refuse' }] },
      [422, 'unknown-fault-point', 'faults.0'],
    ],
    [
      'nine faults',
      { ...good, faults: Array(9).fill({ at: 'payment.charge', do: 'error' }) },
      [400, 'invalid-request', 'faults'],
    ],
  ])('then %s is refused with its place', async (_, body, expected) => {
    expectProblem(await call('POST', '/api/orders', { body }), expected);
  });

  test.each<[string, string | Buffer, Record<string, string>, [number, string]]>([
    ['broken JSON', '{"customerId":', headersOf(), [400, 'invalid-json']],
    ['no body at all', '', headersOf(), [400, 'invalid-json']],
    [
      'another media type',
      'a=1',
      { 'content-type': 'application/x-www-form-urlencoded' },
      [415, 'unsupported-media-type'],
    ],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), headersOf(), [400, 'invalid-request']],
    ['a huge body', `{"city":"${'x'.repeat(70_000)}"}`, headersOf(), [413, 'body-too-large']],
    [
      'a number beyond all bounds',
      JSON.stringify(good).replace('"quantity":1', '"quantity":1e309'),
      headersOf(),
      [400, 'invalid-request'],
    ],
    ['a poisoned prototype', '{"__proto__":{"city":"pune"}}', headersOf(), [400, 'invalid-json']],
    ['deep nesting', `${'['.repeat(20_000)}${']'.repeat(20_000)}`, headersOf(), [400, 'invalid-request']],
  ])('then %s is refused', async (_, raw, headers, expected) => {
    expectProblem(await call('POST', '/api/orders', { raw, headers }), expected);
  });

  test.each(['a b', '', 'x'.repeat(201), '""'])('then the Idempotency-Key %j is refused', async (key) => {
    const answer = await call('POST', '/api/orders', { body: good, headers: { 'idempotency-key': key } });
    expectProblem(answer, [400, 'invalid-idempotency-key', 'Idempotency-Key']);
  });
});

describe('When a body is much longer as it is handed on', () => {
  const gatherMs = 1_500;
  /** 65,001 bytes as they come, 286,001 when each number has its 21 digits. */
  const numbers = `[${Array(13_000).fill('1e20')}]`;
  const noDish = orderBody({ items: [{ dishId: 'no-such-dish', quantity: 1 }] });
  const tooLarge: [number, string] = [413, 'body-too-large'];

  test.each<[string, string, object]>([
    ['order', numbers, noDish],
    ['coordinator', `{"protocol":"2pc","junk":${numbers}}`, { ...noDish, protocol: '2pc' }],
  ])('then it is refused alone, and not all that go to %s with it', async (part, raw, body) => {
    const others: ReturnType<typeof call>[] = [];
    const long: typeof others = [];
    {
      // While the first one is under way, all that come gather into one batch.
      using _ = pausing(part);
      others.push(call('POST', '/api/orders', { body }));
      await new Promise((resolve) => setTimeout(resolve, gatherMs / 3));
      long.push(...Array.from({ length: 40 }, () => call('POST', '/api/orders', { raw })));
      others.push(...Array.from({ length: 10 }, () => call('POST', '/api/orders', { body })));
      await new Promise((resolve) => setTimeout(resolve, gatherMs));
    }
    for (const answer of await Promise.all(others)) expectProblem(answer, [422, 'unknown-dish']);
    for (const answer of await Promise.all(long)) expectProblem(answer, tooLarge);
  });

  test('then it is refused as a text, and in chunks, too', async () => {
    const text = { raw: '\u0001'.repeat(60_000), headers: { 'content-type': 'text/plain' } };
    expectProblem(await call('POST', '/api/orders', text), tooLarge);
    const head =
      'POST /api/orders HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-type: application/json\r\n';
    const chunk = `${numbers.length.toString(16)}\r\n${numbers}\r\n0\r\n\r\n`;
    const { status, code } = await sendRaw(`${head}transfer-encoding: chunked\r\n\r\n${chunk}`);
    expect([status, code]).toEqual(tooLarge);
  });
});

describe('When a URL is wrong', () => {
  const id = '01890000-0000-7000-8000-000000000000';
  test.each<[string, [number, string, string?]]>([
    ['/api/orders/not-an-id', [400, 'invalid-request', 'orderId']],
    [`/api/orders/${id}`, [404, 'not-found']],
    [`/api/orders/${id}/timeline`, [404, 'not-found']],
    ['/api/orders?cursor=nonsense', [400, 'invalid-cursor', 'cursor']],
    [`/api/orders?cursor=-271821-04-20T00:00:00.000Z_${id}`, [400, 'invalid-cursor', 'cursor']],
    [`/api/orders?cursor=%2B275760-09-13T00:00:00.000Z_${id}`, [400, 'invalid-cursor', 'cursor']],
    ['/api/orders?status=LOST', [400, 'invalid-request', 'status']],
    ['/api/orders?limit=0', [400, 'invalid-request', 'limit']],
    ['/api/orders?limit=201', [400, 'invalid-request', 'limit']],
    ['/api/orders?colour=red', [400, 'invalid-request', 'colour']],
    ['/api/wallets/nobody', [404, 'not-found']],
    ['/api/wallets/%00', [400, 'invalid-request', 'customerId']],
    ['/api/wallets?cursor=%00', [400, 'invalid-request', 'cursor']],
    ['/api/stock/%00', [400, 'invalid-request', 'dishId']],
    ['/api/stock?cursor=%00', [400, 'invalid-request', 'cursor']],
    ['/api/stock/pizza', [404, 'not-found']],
    ['/api/couriers?cursor=%00', [400, 'invalid-request', 'cursor']],
    ['/api/notifications?orderId=x', [400, 'invalid-request', 'orderId']],
    ['/api/dead-letters?cursor=-1', [400, 'invalid-request', 'cursor']],
    ['/api/invariants?quiet=maybe', [400, 'invalid-request', 'quiet']],
    ['/api/nothing', [404, 'not-found']],
    ['/api/orders/%zz', [400, 'invalid-url']],
    ['/%', [400, 'invalid-url']],
  ])('then %s is a problem that says so', async (path, expected) => {
    expectProblem(await raw(path), expected);
  });

  test('then a method that is not there is a problem too', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const answer = await call('PATCH', '/api/orders');
      expect([method, answer.status]).toEqual([method, 404]);
    }
  });
});

/** As it stands, without the corrections that `fetch` makes to a URL. */
function raw(path: string): Promise<{ status: number; headers: Headers; body: unknown; text: string }> {
  const { hostname, port } = new URL(system.url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const headers = new Headers(answer.headers as Record<string, string>);
        resolve({ status: answer.statusCode ?? 0, headers, text, body: JSON.parse(text) });
      });
    })
      .on('error', reject)
      .end();
  });
}

test('When many bad orders come at once, then each is told what is wrong with it alone', async () => {
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  const unknown = JSON.stringify({ ...good, items: [{ dishId: 'x', quantity: 1 }] });
  const kinds = [
    { raw: deep, expected: [400, 'invalid-request'] },
    { raw: unknown, expected: [422, 'unknown-dish'] },
    { raw: JSON.stringify({ ...good, city: 5 }), expected: [400, 'invalid-request'] },
  ];
  const asked = Array.from({ length: 60 }, (_, index) => kinds[index % kinds.length] as (typeof kinds)[0]);
  const answers = await Promise.all(
    asked.map(({ raw }) => call<ProblemBody>('POST', '/api/orders', { raw })),
  );
  expect(answers.map(({ status, body }) => [status, body.code])).toEqual(
    asked.map(({ expected }) => expected),
  );
  expect(await get('/livez')).toEqual({ live: true });
});
