/**
 * One connection that sends a request and reads its answer: no pool, no redirects, no chunks. A load generator shares
 * the machine with what it measures: through undici an order cost it 60 µs of CPU, and costs 35 so.
 */
import { connect, type Socket } from 'node:net';

export type ApiCall = {
  method: 'GET' | 'POST';
  path: string;
  headers?: Record<string, string>;
  body?: string;
};
export type ApiAnswer = { status: number; text: string };
/** `isLast`: the server closes the connection after it, as one does that is told to stop. */
type ReadAnswer = ApiAnswer & { isLast: boolean };

export type Connection = {
  /** One at a time. Rejects when the connection ends before the answer does, or when the answer has no length. */
  send(call: ApiCall): Promise<ApiAnswer>;
  close(): void;
};

/** Opens when it is needed, again when the server closed it in between. */
export function openConnection(url: string): Connection {
  const { hostname, port, host } = new URL(url);
  let socket: Socket | undefined;
  let waiting: PromiseWithResolvers<ApiAnswer> | undefined;

  const open = (): Socket => {
    const opened = connect({ host: hostname, port: Number(port), noDelay: true });
    let received: Buffer = Buffer.alloc(0);
    opened.on('data', (chunk) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      try {
        const answer = readAnswer(received);
        if (!answer) return;
        received = Buffer.alloc(0);
        if (answer.isLast) socket = undefined;
        waiting?.resolve({ status: answer.status, text: answer.text });
      } catch (error) {
        opened.destroy(error as Error);
      }
    });
    let failure: Error | undefined;
    opened.on('error', (error) => {
      failure = error;
    });
    opened.on('close', () => {
      if (socket !== opened) return;
      socket = undefined;
      // Without effect when it is answered.
      waiting?.reject(failure ?? new Error(`${url} closed the connection`));
    });
    return opened;
  };

  return {
    send({ method, path, headers = {}, body = '' }) {
      socket ??= open();
      waiting = Promise.withResolvers();
      const fields = Object.entries({ host, ...headers, 'content-length': Buffer.byteLength(body) });
      const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      socket.write(`${method} ${path} HTTP/1.1\r\n${head}\r\n${body}`);
      return waiting.promise;
    },
    close: () => void socket?.destroy(),
  };
}

/** Undefined: the rest is still to come. */
function readAnswer(received: Buffer): ReadAnswer | undefined {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = received.toString('latin1', 0, headEnd);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without a length: ${head}`);
  const bodyStart = headEnd + 4;
  const bodyEnd = bodyStart + Number(length);
  if (received.length < bodyEnd) return undefined;
  return {
    status: Number(head.slice(9, 12)),
    text: received.toString('utf8', bodyStart, bodyEnd),
    isLast: /^connection: *close/im.test(head),
  };
}
