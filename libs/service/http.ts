/** The HTTP surface that every process has: one error format, bounded requests, health and metrics. */
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { z } from 'zod';
import {
  type FieldError,
  Problem,
  type ProblemCode,
  problemContentType,
  retryAfterS,
} from '#libs/contracts/problems.ts';
import { nameHttpSpan } from '#libs/telemetry/http-span.ts';
import { tracingOn } from '#libs/telemetry/tracing-on.ts';
import { httpLimits, limitPipelining, limitServer } from './http-limits.ts';
import { lameDuck } from './lame-duck.ts';

export type Health = { ready: boolean; detail: Record<string, string> };

export type HttpOptions = {
  logger: FastifyBaseLogger;
  health(): Promise<Health>;
  metrics(): Promise<string>;
  connectionsMax?: number;
  /** Addresses of proxies whose word is taken for who asks; without them it is who connects. */
  trustedProxies?: string[] | undefined;
};

export function createHttp(options: HttpOptions): FastifyInstance {
  const { logger, health, metrics, connectionsMax, trustedProxies } = options;
  const app = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    ...httpLimits,
    trustProxy: trustedProxies ?? false,
    // A stop begins here, while all behind it is still there: what comes on an open connection is served, and closes it.
    return503OnClosing: false,
    // A malformed URL never reaches a route or the error handler; it must look like any other problem.
    frameworkErrors: (error, _request, reply) => sendProblem(reply as FastifyReply, toProblem(error)),
  });
  limitServer(app.server, connectionsMax);
  limitPipelining(app);
  const isStopping = lameDuck(app);
  if (tracingOn) {
    app.addHook('onRequest', async ({ method, routeOptions }) => nameHttpSpan(method, routeOptions.url));
  }
  app.setErrorHandler((error, request, reply) => {
    const problem = toProblem(error);
    if (problem.status >= 500) request.log.error({ err: error, code: problem.code }, 'request failed');
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, new Problem('not-found')));

  app.get('/livez', async () => ({ live: true }));
  app.get('/readyz', async (_request, reply) => {
    const { ready, detail } = await health();
    const state = isStopping()
      ? { ready: false, detail: { ...detail, process: 'stopping' } }
      : { ready, detail };
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  app.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4');
    return metrics();
  });
  return app;
}

const sendProblem = (reply: FastifyReply, problem: Problem): FastifyReply =>
  sendProblemBody(reply, problem.toBody());

/** Of a problem that another process has put into words. */
export function sendProblemBody(reply: FastifyReply, body: ReturnType<Problem['toBody']>): FastifyReply {
  const seconds = retryAfterS(body.code);
  if (seconds !== undefined) reply.header('Retry-After', seconds);
  return reply.code(body.status).type(problemContentType).send(JSON.stringify(body));
}

/** Parses any part of a request; a refusal names every field that does not fit. */
export function parse<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const errors: FieldError[] = parsed.error.issues.map((issue) => ({
    field: issue.path.join('.') || (issue.code === 'unrecognized_keys' ? issue.keys.join(', ') : '(whole)'),
    message: issue.message,
  }));
  throw new Problem('invalid-request', undefined, { errors });
}

/** Fastify's own refusals, by status: it answers before any route of ours runs. */
const codesOfStatus: Record<number, ProblemCode> = {
  400: 'invalid-request',
  404: 'not-found',
  405: 'method-not-allowed',
  413: 'body-too-large',
  415: 'unsupported-media-type',
  429: 'too-many-requests',
  503: 'service-unavailable',
};

const codesOfFastify: Record<string, ProblemCode> = {
  FST_ERR_BAD_URL: 'invalid-url',
  FST_ERR_CTP_INVALID_JSON_BODY: 'invalid-json',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid-json',
};

export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const { code = '', statusCode = 500 } = error as { code?: string; statusCode?: number };
  const known =
    codesOfFastify[code] ?? (error instanceof SyntaxError ? 'invalid-json' : codesOfStatus[statusCode]);
  return new Problem(known ?? 'internal-error', undefined, { cause: error });
}

export type { FastifyInstance, FastifyReply, FastifyRequest };
