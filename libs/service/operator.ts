/** Who may do what only an operator may: set faults, place orders that carry some, end a branch in doubt. */
import { timingSafeEqual } from 'node:crypto';
import { Problem } from '#libs/contracts/problems.ts';
import type { FastifyRequest } from './http.ts';

export type OperatorRules = {
  /** In the lab, whoever sits at this machine is the operator. */
  LAB: boolean;
  ADMIN_TOKEN?: string | undefined;
};

/**
 * Whoever shows the token, and in the lab whoever asks from this very machine; never a page of somebody
 * else's (CSRF), nor one that calls its own host by our address (DNS rebinding). Either way it is logged.
 */
export function assertOperator(request: FastifyRequest, rules: OperatorRules, action: string): void {
  const audit = { action, from: request.ip };
  try {
    assertAllowed(request, rules);
  } catch (error) {
    request.log.warn(audit, 'refused what only an operator may do');
    throw error;
  }
  request.log.warn(audit, 'an operator acts');
}

function assertAllowed(request: FastifyRequest, { LAB, ADMIN_TOKEN }: OperatorRules): void {
  if (!isOwnPage(request)) throw new Problem('forbidden-origin');
  const { authorization } = request.headers;
  if (authorization !== undefined || !LAB) assertToken(authorization, ADMIN_TOKEN);
  else if (!isThisMachine(request)) throw new Problem('forbidden-origin');
}

/** Without a token in the environment there is no operator. */
export function assertToken(authorization: string | undefined, adminToken: string | undefined): void {
  const given = Buffer.from(authorization ?? '');
  const wanted = Buffer.from(`Bearer ${adminToken ?? ''}`);
  const known = adminToken !== undefined && given.length === wanted.length;
  if (!known || !timingSafeEqual(given, wanted)) throw new Problem('admin-token-required');
}

function isOwnPage({ headers: { origin, host } }: FastifyRequest): boolean {
  return origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
}

/** One of these shows a proxy. One that adds none of them cannot be seen: do not put one before a lab. */
const proxyHeaders = [
  'via',
  'forwarded',
  'x-real-ip',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
];

/** By the connection, not by what a header says; what a proxy passes on comes from anywhere. */
function isThisMachine({ socket, headers }: FastifyRequest): boolean {
  const isLoopback = ['127.0.0.1', '::1', '::ffff:127.0.0.1'].includes(socket.remoteAddress ?? '');
  const isOwnName = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(headers.host ?? '');
  return isLoopback && isOwnName && proxyHeaders.every((name) => headers[name] === undefined);
}
