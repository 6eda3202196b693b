import { Agent, createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { createHttp } from '#libs/service/http.ts';
import { idleMsMax, lameDuckMs } from '#libs/service/lame-duck.ts';
import { createReplicas } from '#libs/service/replicas.ts';
import { eventually } from '../support/eventually.ts';

type Told = { status: number | undefined; connection: string | undefined; body: unknown };

test('What is on its way on an idle connection when the stop comes is answered, and the connection ends with it', async () => {
  const app = createHttp({
    logger: pino({ level: 'silent' }),
    health: async () => ({ ready: true, detail: {} }),
    metrics: async () => '',
  });
  app.get('/ask', async () => 'answered');
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as { port: number };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const ask = (path: string, onSent = () => {}) =>
    new Promise<Told>((resolve, reject) => {
      const request = get({ host: '127.0.0.1', port, path, agent }, (answer) => {
        let body = '';
        answer.on('data', (chunk) => (body += chunk));
        const { connection } = answer.headers;
        answer.on('end', () => resolve({ status: answer.statusCode, connection, body }));
      });
      request.on('error', reject);
      request.on('finish', onSent);
    });

  expect(await ask('/ask')).toEqual({ status: 200, connection: 'keep-alive', body: 'answered' });
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= app.close();
  };
  expect(await ask('/ask', close)).toEqual({ status: 200, connection: 'close', body: 'answered' });
  const { status, connection, body } = await ask('/readyz');
  expect([status, connection, JSON.parse(String(body))]).toEqual([
    503,
    'close',
    { ready: false, detail: { process: 'stopping' } },
  ]);
  await closing;
  await expect(ask('/ask')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('A connection that is idle is closed by its caller, before a server that stops would close it', async () => {
  let closed = 0;
  const server = createServer({ keepAliveTimeout: 60_000 }, (_request, response) => response.end('answered'));
  server.on('connection', (socket) => socket.once('close', () => (closed += 1)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const urls = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const replicas = createReplicas({ urls, resolve: false, connectionsMax: 4 });
  onTestFinished(() => replicas.close());
  const ask = () => replicas.request({ method: 'GET', path: '/', repeat: 'always', withinMs: 2_000 });
  expect((await ask()).status).toBe(200);
  await eventually('it is closed', () => closed === 1);
  expect((await ask()).status).toBe(200);
  expect(idleMsMax).toBeLessThan(lameDuckMs);
});
