/** HTTP as bytes: what no client library would send. */
import { connect, type Socket } from 'node:net';
import { system } from './api.ts';

const answerMsMax = 15_000;

const open = (): Socket => {
  const { hostname, port } = new URL(system.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {}); // Cut off while we write: that is what is looked at.
  return socket;
};

export type RawAnswer = { status: number; code: string | undefined; head: string; text: string };

/** Sends the bytes and reads until the server closes; `connection: close` is the sender's to say. */
export function sendRaw(bytes: string | Buffer): Promise<RawAnswer> {
  const socket = open();
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end within ${answerMsMax} ms: ${Buffer.concat(chunks)}`));
    }, answerMsMax);
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('close', () => {
      clearTimeout(late);
      resolve(read(Buffer.concat(chunks).toString()));
    });
  });
}

function read(text: string): RawAnswer {
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0);
  const code = /"code":"([a-z-]+)"/.exec(body)?.[1];
  return { status, code, head, text };
}
