/**
 * One connection that sends a request and reads its answer: no pool, no redirects, no chunks. A load generator shares
 * the machine with what it measures: through undici an order cost it 60 µs of CPU, and costs 35 so.
 */
import { connect } from 'node:net';

export type ApiCall = {
  method: 'GET' | 'POST';
  path: string;
  headers?: Record<string, string>;
  body?: string;
};
export type ApiAnswer = { status: number; text: string };

export type Connection = {
  /** One at a time. Rejects when the connection ends before the answer does, or the answer has no length. */
  send(call: ApiCall): Promise<ApiAnswer>;
  close(): void;
};

export function openConnection(url: string): Connection {
  const { hostname, port, host } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  let received: Buffer = Buffer.alloc(0);
  let waiting = Promise.withResolvers<ApiAnswer>();

  socket.on('data', (chunk) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    try {
      const answer = readAnswer(received);
      if (!answer) return;
      received = Buffer.alloc(0);
      waiting.resolve(answer);
    } catch (error) {
      waiting.reject(error);
    }
  });
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('close', () => {
    failure ??= new Error(`${url} closed the connection`);
    waiting.reject(failure);
  });

  return {
    send({ method, path, headers = {}, body = '' }) {
      if (failure) return Promise.reject(failure);
      waiting = Promise.withResolvers();
      const fields = Object.entries({ host, ...headers, 'content-length': Buffer.byteLength(body) });
      const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      socket.write(`${method} ${path} HTTP/1.1\r\n${head}\r\n${body}`);
      return waiting.promise;
    },
    close() {
      waiting.promise.catch(() => {});
      socket.destroy();
    },
  };
}

/** Undefined: the rest is still to come. */
function readAnswer(received: Buffer): ApiAnswer | undefined {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = received.toString('latin1', 0, headEnd);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without a length: ${head}`);
  const bodyStart = headEnd + 4;
  const bodyEnd = bodyStart + Number(length);
  if (received.length < bodyEnd) return undefined;
  return { status: Number(head.slice(9, 12)), text: received.toString('utf8', bodyStart, bodyEnd) };
}
