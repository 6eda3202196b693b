import { Agent, get } from 'node:http';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { createHttp } from '#libs/service/http.ts';

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
