/** So many requests a minute from one address; health and metrics, which were there before, are not counted. */
import { fastifyRateLimit as rateLimit } from '@fastify/rate-limit';
import { Problem } from '#libs/contracts/problems.ts';
import type { FastifyInstance } from '#libs/service/http.ts';

const windowMs = 60_000;
/** Addresses that are remembered; beyond it the one that was quiet for longest is forgotten. */
const addressesMax = 10_000;

/** To be awaited before the routes are added. Without a limit nothing is, and a request costs no more than before. */
export async function limitRate(app: FastifyInstance, requestsPerMinute: number): Promise<void> {
  if (requestsPerMinute === 0) return;
  await app.register(rateLimit, {
    max: requestsPerMinute,
    timeWindow: windowMs,
    cache: addressesMax,
    // `Retry-After` says what a client needs to know.
    addHeaders: {
      'x-ratelimit-limit': false,
      'x-ratelimit-remaining': false,
      'x-ratelimit-reset': false,
    },
    addHeadersOnExceeding: {
      'x-ratelimit-limit': false,
      'x-ratelimit-remaining': false,
      'x-ratelimit-reset': false,
    },
    errorResponseBuilder: () =>
      new Problem('too-many-requests', `${requestsPerMinute} a minute are taken from one address`),
  });
}
