import { once } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openConnection } from '#lab/bench/connection.ts';

/** A real server; `connections` counts those that were opened to it. */
async function serve(onRequest: RequestListener) {
  const server = createServer(onRequest).listen(0, '127.0.0.1');
  await once(server, 'listening');
  let connections = 0;
  server.on('connection', () => {
    connections += 1;
  });
  const connection = openConnection(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return {
    connection,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      connection.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

const whole = (response: ServerResponse, status: number, text: string) =>
  response.writeHead(status, { 'content-length': Buffer.byteLength(text) }).end(text);

describe('A connection of the load generator', () => {
  test('sends what it is given, and reads one answer after another', async () => {
    await using server = await serve(async (request, response) => {
      const body = (await request.toArray()).join('');
      whole(response, 201, `${request.method} ${request.url} ${request.headers.prefer} ${body}`);
    });
    const call = { method: 'POST', path: '/api/orders', headers: { prefer: 'wait=20' } } as const;
    for (const body of ['{"a":1}', '{"city":"पुणे"}']) {
      expect(await server.connection.send({ ...call, body })).toEqual({
        status: 201,
        text: `POST /api/orders wait=20 ${body}`,
      });
    }
    expect(server.connections()).toBe(1);
  });

  test('puts an answer together that comes in pieces', async () => {
    await using server = await serve(async (_request, response) => {
      const text = 'पुणे'.repeat(100);
      response.writeHead(200, { 'content-length': Buffer.byteLength(text) }).flushHeaders();
      for (const byte of [Buffer.from(text).subarray(0, 7), Buffer.from(text).subarray(7)]) {
        await sleep(20);
        response.write(byte);
      }
      response.end();
    });
    const { text } = await server.connection.send({ method: 'GET', path: '/' });
    expect(text).toBe('पुणे'.repeat(100));
  });

  test('opens again when it was closed between two requests', async () => {
    await using server = await serve(({ socket }, response) => {
      whole(response, 200, 'ok');
      setTimeout(() => socket.destroy(), 20);
    });
    await server.connection.send({ method: 'GET', path: '/' });
    await sleep(200);
    expect((await server.connection.send({ method: 'GET', path: '/' })).text).toBe('ok');
    expect(server.connections()).toBe(2);
  });

  test('sends nothing more on a connection that the server says it will close', async () => {
    await using server = await serve((_request, response) => {
      response.setHeader('connection', 'close');
      whole(response, 200, 'ok');
    });
    for (let answers = 0; answers < 20; answers++) {
      expect((await server.connection.send({ method: 'GET', path: '/' })).text).toBe('ok');
    }
    expect(server.connections()).toBe(20);
  });

  test('says so when the answer breaks off, or has no length', async () => {
    await using server = await serve((request, response) => {
      if (request.url === '/chunks') response.write('x', () => response.end('y'));
      else response.writeHead(200, { 'content-length': 10 }).write('x', () => response.destroy());
    });
    const ask = (path: string) => server.connection.send({ method: 'GET', path });
    await expect(ask('/broken')).rejects.toThrow('closed the connection');
    await expect(ask('/chunks')).rejects.toThrow('without a length');
  });

  test('says so when nobody listens', async () => {
    const connection = openConnection('http://127.0.0.1:1');
    await expect(connection.send({ method: 'GET', path: '/' })).rejects.toThrow('ECONNREFUSED');
  });
});
