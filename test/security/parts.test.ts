/** Processes killed and connections cut over HTTP: who may, what is refused, and what a gateway does to itself. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAdminToken } from '#lab/admin-token.ts';
import { runningLab } from '#lab/home.ts';
import type { Part } from '#libs/contracts/parts.ts';
import { get, system } from '../support/api.ts';
import { labReady } from '../support/control.ts';
import { type Answer, ask, bearer, startGateway } from '../support/deployed-gateway.ts';
import { eventually } from '../support/eventually.ts';
import { pidOf } from '../support/survivors.ts';
import type { StartedService } from '../support/unsafe-broker.ts';

const token = readAdminToken(system.home);
const refused = (status: number, code: string): Answer => ({ status, code });
const done: Answer = { status: 200, code: undefined };
/** The least that can be done to a part: it runs already. */
const harmless = '/api/parts/payment/resume';
const cut = { mode: 'cut' };

afterAll(labReady);

describe('A gateway of a deployment', () => {
  test('has no launcher, and says so', async () => {
    const port = system.portBase + 48;
    const gateway = await startGateway(port, { ADMIN_TOKEN: token });
    try {
      for (const path of ['/api/parts', '/api/links']) {
        expect(await ask(port, 'GET', path, undefined)).toEqual(refused(501, 'no-launcher'));
      }
      expect(await ask(port, 'POST', harmless, undefined, bearer(token))).toEqual(
        refused(501, 'no-launcher'),
      );
    } finally {
      await gateway.stop();
    }
  });
});

describe('A gateway that is told of a launcher, and not that it stands in a lab', () => {
  const port = system.portBase + 49;
  let gateway: StartedService;
  beforeAll(async () => {
    gateway = await startGateway(port, {
      ADMIN_TOKEN: token,
      LAB_CONTROL: runningLab(system.home).control,
    });
  });
  afterAll(() => gateway?.stop());
  const post = (path: string, headers?: Record<string, string>) =>
    ask(port, 'POST', path, undefined, headers);

  test('lets nobody touch a process or a connection without the token', async () => {
    const before = pidOf('payment');
    for (const headers of [{}, bearer('x'.repeat(token.length)), { authorization: token }]) {
      expect(await post(harmless, headers)).toEqual(refused(403, 'admin-token-required'));
      expect(await post('/api/parts/payment/kill', headers)).toEqual(refused(403, 'admin-token-required'));
      expect(await ask(port, 'PUT', '/api/links/payment/nats', cut, headers)).toEqual(
        refused(403, 'admin-token-required'),
      );
    }
    expect(pidOf('payment')).toBe(before);
  });

  test('lets an operator, but not from the page of somebody else', async () => {
    expect(await post(harmless, bearer(token))).toEqual(done);
    const foreign = { ...bearer(token), origin: 'http://evil.example' };
    expect(await post(harmless, foreign)).toEqual(refused(403, 'forbidden-origin'));
  });

  test('knows the parts, the acts, the modes, and that this lab has no links', async () => {
    expect(await post('/api/parts/nobody/resume', bearer(token))).toEqual(refused(404, 'not-found'));
    expect(await post('/api/parts/payment/explode', bearer(token))).toEqual(refused(400, 'invalid-request'));
    const links = (body: object) => ask(port, 'PUT', '/api/links/payment/nats', body, bearer(token));
    expect(await links(cut)).toEqual(refused(409, 'links-off'));
    expect(await links({ mode: 'latency', ms: -1 })).toEqual(refused(400, 'invalid-request'));
  });
});

describe('The gateway of the lab', () => {
  const port = Number(new URL(system.url).port);
  const post = (path: string, body?: object) => ask(port, 'POST', path, body);

  test('kills a service for whoever sits at this machine, and shows what became of it', async () => {
    const before = pidOf('notification');
    expect(await post('/api/parts/notification/kill')).toEqual(done);
    await eventually('another process', () => ![null, before].includes(pidOf('notification')));
    await labReady();
    const { items } = await get<{ items: Part[] }>('/api/parts');
    expect(items.find(({ name }) => name === 'notification')).toMatchObject({
      kind: 'service',
      state: 'ready',
      pid: pidOf('notification'),
    });
  });

  test('stops a database, refuses to pause what is down, and starts it again', async () => {
    expect(await post('/api/parts/notification-db/stop')).toEqual(done);
    expect(await post('/api/parts/notification-db/pause')).toEqual(refused(409, 'part-not-running'));
    expect(await post('/api/parts/notification-db/start')).toEqual(done);
  });

  test('answers before it kills itself, and does nothing to itself that nobody here could end', async () => {
    for (const act of ['pause', 'stop'])
      expect(await post(`/api/parts/gateway/${act}`)).toEqual(refused(409, 'part-answers'));
    expect(await post('/api/parts/gateway/kill', { hold: true })).toEqual(refused(409, 'part-answers'));
    const before = pidOf('gateway');
    expect(await post('/api/parts/gateway/kill')).toEqual({ status: 202, code: undefined });
    await eventually('another gateway', () => ![null, before].includes(pidOf('gateway')));
  });
});
