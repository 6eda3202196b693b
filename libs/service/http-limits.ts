/**
 * What one client may cost us before a route even runs. Only *receiving* a request is bounded in time: an
 * answer may be late on purpose (`Prefer: wait=30`).
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyHttpOptions, FastifyInstance, RawServerDefault } from 'fastify';
import { Problem, type ProblemCode, problemContentType } from '#libs/contracts/problems.ts';

const bodyBytesMax = 64 * 1024;
const headerBytesMax = 16 * 1024;
const headersMax = 100;
const headersWithinMs = 5_000;
const requestWithinMs = 10_000;
/** How often the server looks for requests that are late; Node's own default is half a minute. */
const lateCheckMs = 1_000;
const keepAliveTimeoutMs = 30_000;
const connectionsMaxDefault = 2_048;
/** On one connection. */
const requestsAtOnceMax = 8;

type Limits = Pick<
  FastifyHttpOptions<RawServerDefault>,
  'bodyLimit' | 'requestTimeout' | 'keepAliveTimeout' | 'http' | 'clientErrorHandler'
>;

export const httpLimits: Limits = {
  bodyLimit: bodyBytesMax,
  requestTimeout: requestWithinMs,
  keepAliveTimeout: keepAliveTimeoutMs,
  http: {
    headersTimeout: headersWithinMs,
    maxHeaderSize: headerBytesMax,
    connectionsCheckingInterval: lateCheckMs,
  },
  clientErrorHandler: (error, socket) => answerClientError(error, socket as Socket),
};

/** Beyond these, connections are refused and headers left out. */
export function limitServer(server: RawServerDefault, connectionsMax = connectionsMaxDefault): void {
  server.maxConnections = connectionsMax;
  server.maxHeadersCount = headersMax;
}

/**
 * HTTP/1.1 lets a client ask on without reading an answer, and Node serves all that came in one piece at once: a
 * thousand requests for one packet. Nobody who means well has so many under way on one connection; it is closed.
 */
export function limitPipelining(app: FastifyInstance): void {
  const underWay = new WeakMap<Socket, number>();
  app.addHook('onRequest', (request, reply, next) => {
    const { socket } = request.raw;
    const count = (underWay.get(socket) ?? 0) + 1;
    if (count > requestsAtOnceMax) {
      reply.hijack();
      socket.destroy();
      return;
    }
    underWay.set(socket, count);
    reply.raw.once('close', () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1));
    next();
  });
}

const codesOfNode: Record<string, ProblemCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request-timeout',
  HPE_HEADER_OVERFLOW: 'headers-too-large',
};

/** What is no request never reaches a route or the error handler; its answer must look like any other. */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  // Node keeps the answer under way here, and looks there itself: text in the middle of it would be worse.
  const { _httpMessage: underWay } = socket as { _httpMessage?: ServerResponse<IncomingMessage> };
  if (socket.writable && !underWay?.headersSent) {
    const problem = new Problem(codesOfNode[error.code ?? ''] ?? 'invalid-request').toBody();
    const body = JSON.stringify(problem);
    const head = [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      `content-type: ${problemContentType}`,
      `content-length: ${Buffer.byteLength(body)}`,
      'connection: close',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  }
  socket.destroy(error);
}
