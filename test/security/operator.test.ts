/**
 * Who may set faults. In the lab whoever sits at the machine; in a deployment, where requests through a
 * published port may look as if they came from it, whoever has the token. Asked of gateways that run as they
 * would in a deployment, before the services of the lab.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import { isOk } from '#lab/nats.ts';
import { call, system } from '../support/api.ts';
import { type Answer, ask, bearer, startGateway } from '../support/deployed-gateway.ts';
import type { StartedService } from '../support/unsafe-broker.ts';

const token = readAdminToken(system.home);
const fault = { at: 'payment.charge', do: 'delay', ms: 1, scope: { customerId: 'nobody' } };
const order = {
  customerId: 'asha',
  city: 'bengaluru',
  items: [{ dishId: 'masala-dosa', quantity: 1 }],
  faults: [{ at: 'payment.charge', do: 'delay', ms: 1 }],
};

const put = (port: number, headers?: Record<string, string>) =>
  ask(port, 'PUT', '/api/faults', { items: [fault] }, headers);
const refused = (code: string): Answer => ({ status: 403, code });
const taken: Answer = { status: 200, code: undefined };

afterAll(async () => {
  await call('DELETE', '/api/faults');
});

describe('A gateway of a deployment with faults on', () => {
  const port = system.portBase + 46;
  let gateway: StartedService;
  beforeAll(async () => {
    gateway = await startGateway(port, { FAULTS: 'on', ADMIN_TOKEN: token, RATE_LIMIT_PER_MINUTE: '40' });
  });
  afterAll(() => gateway?.stop());

  test('lets nobody set faults who is only near', async () => {
    expect(await put(port)).toEqual(refused('admin-token-required'));
    expect(await ask(port, 'DELETE', '/api/faults', undefined)).toEqual(refused('admin-token-required'));
  });

  test('lets nobody with a wrong token', async () => {
    for (const wrong of ['', 'x'.repeat(token.length), token.slice(1), `${token}x`]) {
      expect(await put(port, bearer(wrong))).toEqual(refused('admin-token-required'));
    }
    expect(await put(port, { authorization: token })).toEqual(refused('admin-token-required'));
  });

  test('lets an operator with the token, but not from the page of somebody else', async () => {
    expect(await put(port, bearer(token))).toEqual(taken);
    expect(await put(port, { ...bearer(token), host: 'lab.example', origin: 'https://lab.example' })).toEqual(
      taken,
    );
    const foreign = { ...bearer(token), origin: 'http://evil.example' };
    expect(await put(port, foreign)).toEqual(refused('forbidden-origin'));
  });

  test('takes no order that carries a fault without it', async () => {
    expect(await ask(port, 'POST', '/api/orders', order)).toEqual(refused('admin-token-required'));
    expect((await ask(port, 'POST', '/api/orders', order, bearer(token))).status).toBe(202);
    expect((await ask(port, 'POST', '/api/orders', { ...order, faults: [] })).status).toBe(202);
  });

  test('ends no wait in doubt without it', async () => {
    const path = '/api/in-doubt/some-gid/resolve';
    expect(await ask(port, 'POST', path, {})).toEqual(refused('admin-token-required'));
    expect(await ask(port, 'POST', path, {}, bearer(token))).toEqual({ status: 404, code: 'not-found' });
  });

  test('answers only so many requests of one address', async () => {
    const answers = await Promise.all(
      Array.from({ length: 45 }, () => ask(port, 'GET', '/api/faults', undefined)),
    );
    expect(answers.filter(({ code }) => code === 'too-many-requests').length).toBeGreaterThanOrEqual(5);
    expect(await isOk(`http://127.0.0.1:${port}/livez`)).toBe(true);
  });
});

describe('A gateway of a deployment', () => {
  test('has faults off, for an operator as well', async () => {
    const port = system.portBase + 47;
    const gateway = await startGateway(port, { ADMIN_TOKEN: token });
    try {
      expect(await put(port, bearer(token))).toEqual(refused('faults-off'));
    } finally {
      await gateway.stop();
    }
  });
});

describe('The gateway of the lab', () => {
  const port = Number(new URL(system.url).port);

  test('lets whoever sits at this machine, and an operator', async () => {
    expect(await put(port)).toEqual(taken);
    expect(await put(port, { origin: `http://127.0.0.1:${port}` })).toEqual(taken);
    expect(await put(port, bearer(token))).toEqual(taken);
  });

  test.each([
    ['another host name', { host: 'evil.example' }],
    ['another host name and its own page', { host: 'evil.example', origin: 'http://evil.example' }],
    ['the page of somebody else', { origin: 'http://evil.example' }],
    ['a proxy', { 'x-forwarded-for': '127.0.0.1' }],
    ['a proxy that keeps to the standard', { forwarded: 'for=127.0.0.1' }],
  ])('lets nobody by %s', async (_, headers) => {
    expect(await put(port, headers)).toEqual(refused('forbidden-origin'));
  });

  test('takes a token that is wrong for what it is', async () => {
    expect(await put(port, bearer('x'.repeat(token.length)))).toEqual(refused('admin-token-required'));
  });
});
