import { connect } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHttp, type FastifyInstance } from '#libs/service/http.ts';

const ask = 'GET /late HTTP/1.1\r\nhost: lab\r\n\r\n';
let app: FastifyInstance;
let port: number;
/** Requests that reached a route. */
let served = 0;

beforeAll(async () => {
  app = createHttp({
    logger: pino({ level: 'silent' }),
    health: async () => ({ ready: true, detail: {} }),
    metrics: async () => '',
  });
  app.get('/late', async () => {
    served += 1;
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { late: true };
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as { port: number }).port;
});
afterAll(() => app.close());

/** Writes each piece once the one before it is answered; gives how many answers came before the end. */
async function answersTo(pieces: readonly number[]): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  const answers = () => text.split('HTTP/1.1 200 ').length - 1;
  let wanted = 0;
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('error', () => {}); // Cut off while we write: that is what is looked at.
  socket.on('data', (chunk) => (text += chunk));
  for (const times of pieces) {
    wanted += times;
    socket.write(ask.repeat(times));
    while (answers() < wanted && !socket.destroyed) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  socket.end();
  await closed;
  return answers();
}

test('A connection may have eight requests under way, again and again', async () => {
  expect(await answersTo([8, 1, 8, 8])).toBe(25);
});

test('With more it is closed, and nothing of the rest is begun', async () => {
  served = 0;
  expect(await answersTo([400])).toBeLessThan(8);
  expect(served).toBeLessThanOrEqual(8);
  expect(await answersTo([3])).toBe(3);
});
