/**
 * JSON over HTTP on a Unix socket that only its owner may use: how processes of one lab ask each other to do
 * something. Whatever a client sends, or fails to send, costs the server a bounded time and nothing else.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LabError, type LabErrorCode } from '../errors.ts';

export type Asked = { method: string; path: readonly string[]; body: unknown };
export type Answered = { status: number; body: unknown };

const bodyBytesMax = 16_000;
const headersWithinMs = 2_000;
const requestWithinMs = 5_000;
const connectionsMax = 64;
/** The kernel keeps the address in 108 bytes, macOS in 104. */
const addressBytesMax = 100;

/** Where a socket of this home can be: in the home, or where its path is too long for the kernel, elsewhere. */
export function socketDirectory(home: string): { directory: string; remove: () => void } {
  if (Buffer.byteLength(join(home, 'control.sock')) <= addressBytesMax) {
    return { directory: home, remove: () => undefined };
  }
  const directory = mkdtempSync(join(tmpdir(), 'saga-lab-'));
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Resolves when it listens. `handle` may throw: a LabError is answered as what it is. */
export async function serveJson(
  address: string,
  handle: (asked: Asked) => Promise<Answered>,
): Promise<() => Promise<void>> {
  // Left behind by a process that was killed; the home belongs to us alone.
  rmSync(address, { force: true });
  const limits = {
    headersTimeout: headersWithinMs,
    requestTimeout: requestWithinMs,
    connectionsCheckingInterval: headersWithinMs,
  };
  const server = createServer(limits, (asked, answer) => {
    answer.on('error', () => undefined); // Whoever asked has gone; what was asked for is done all the same.
    void answerTo(asked, handle).then(({ status, body }) => {
      answer.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
      answer.end(JSON.stringify(body));
    });
  });
  server.maxConnections = connectionsMax;
  server.on('clientError', (_, socket) => socket.destroy());
  await listen(server, address);
  return () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  };
}

function listen(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket is made with these rights, within this call: it never has others.
    const before = process.umask(0o177);
    server.listen(address, resolve);
    process.umask(before);
  });
}

async function answerTo(
  asked: IncomingMessage,
  handle: (asked: Asked) => Promise<Answered>,
): Promise<Answered> {
  try {
    const path = (asked.url ?? '').split('/').slice(1).map(decodeURIComponent);
    return await handle({ method: asked.method ?? '', path, body: await readJson(asked) });
  } catch (error) {
    const code = error instanceof LabError ? error.code : 'request-refused';
    return { status: 400, body: { error: error instanceof Error ? error.message : String(error), code } };
  }
}

async function readJson(asked: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of asked) {
    bytes += piece.length;
    if (bytes > bodyBytesMax) throw new LabError('request-refused', `more than ${bodyBytesMax} bytes`);
    pieces.push(piece);
  }
  return bytes === 0 ? undefined : JSON.parse(Buffer.concat(pieces).toString('utf8'));
}

/** Resolves with what was answered; throws the other side's LabError, or `not-reachable`. */
export async function askJson<Body>(
  address: string,
  method: string,
  path: readonly string[],
  { body, withinMs }: { body?: unknown; withinMs: number },
): Promise<Body> {
  const { status, text } = await exchange(address, method, path, body, withinMs).catch((cause: Error) => {
    throw new LabError('not-reachable', `${address} does not answer (${cause.message})`, { cause });
  });
  const answered = JSON.parse(text);
  if (status < 400) return answered as Body;
  throw new LabError(answered.code as LabErrorCode, answered.error);
}

function exchange(
  socketPath: string,
  method: string,
  path: readonly string[],
  body: unknown,
  withinMs: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      socketPath,
      method,
      path: `/${path.map(encodeURIComponent).join('/')}`,
      agent: false,
      signal: AbortSignal.timeout(withinMs),
    };
    const sent = request(options, async (response) => {
      try {
        let text = '';
        for await (const piece of response.setEncoding('utf8')) text += piece;
        resolve({ status: response.statusCode ?? 0, text });
      } catch (error) {
        reject(error);
      }
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
