/** Puts a service's part in two-phase commit together: pools, participant, ends, routes. */
import { Pool } from 'undici';
import { type Decision, inquiryAnswer, participantNames } from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createBranchEnds } from '#libs/step/branch-ends.ts';
import { readPrepared } from '#libs/step/branches.ts';
import type { OutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { createParticipant } from '#libs/step/participant.ts';
import { participantRoutes } from '#libs/step/participant-routes.ts';
import { traceBatch, traceNothing } from '#libs/telemetry/batch-trace.ts';
import { tracingOn } from '#libs/telemetry/tracing-on.ts';
import type { ServiceContext, ServiceDefinition } from './definition.ts';
import type { FastifyInstance } from './http.ts';
import type { Metrics } from './metrics.ts';

const endConnectionsMax = 8;
/** A bar waits at most so long for the branch that it bars; it is tried again. */
const endLockTimeoutMs = 1_000;
const branchLockTimeoutMs = 5_000;
const inquiryMsMax = 3_000;

export type TwoPhaseOptions = {
  service: ServiceDefinition;
  context: ServiceContext;
  publisher: OutboxPublisher;
  injector: Injector;
  metrics: Metrics;
  onVerdicts: Parameters<typeof createParticipant>[0]['onVerdicts'];
  onTrouble(error: unknown, what: string): void;
};

/** Undefined for a service that takes no part. */
export function createTwoPhase(options: TwoPhaseOptions) {
  const { service, context, publisher, injector, metrics, onVerdicts, onTrouble } = options;
  const name = participantNames.find((each) => each === service.name);
  if (!service.participation || !name) return undefined;
  const { DATABASE_URL, BRANCH_CONNECTIONS_MAX, COORDINATOR_URL, ADMIN_TOKEN } = context.config;
  const onError = (error: Error) => onTrouble(error, 'an idle database connection ended');
  const now = () => new Date();

  const pool = createPool(DATABASE_URL, {
    name: `${name} branches`,
    purpose: 'steps',
    connectionsMax: BRANCH_CONNECTIONS_MAX,
    lockTimeoutMs: branchLockTimeoutMs,
    onError,
  });
  const endPool = createPool(DATABASE_URL, {
    name: `${name} branch ends`,
    purpose: 'steps',
    connectionsMax: endConnectionsMax,
    lockTimeoutMs: endLockTimeoutMs,
    onError,
  });
  const participant = createParticipant({
    service: name,
    participation: service.participation,
    pool,
    injector,
    traceBatch: tracingOn ? traceBatch : traceNothing,
    now,
    onVerdicts,
    onTrouble,
  });
  const coordinator = COORDINATOR_URL ? new Pool(COORDINATOR_URL, { connections: 2 }) : undefined;
  const ends = createBranchEnds({
    service: name,
    participant,
    pool: endPool,
    publisher,
    injector,
    now,
    onTrouble,
    inquire: (transactionId) => inquire(coordinator, transactionId),
    onReleased: (seconds, orders) => metrics.lockHold.inc({ protocol: '2pc' }, seconds * orders),
  });

  return {
    routes(app: FastifyInstance) {
      participantRoutes(app, {
        service: name,
        participant,
        ends,
        readPrepared: () => readPrepared(endPool),
        adminToken: ADMIN_TOKEN,
      });
    },
    async stop() {
      await ends.stop();
      await participant.stop();
      await coordinator?.close();
      await pool.end();
      await endPool.end();
    },
  };
}

/** A coordinator that is gone is no decision: the branch stays in doubt, which is what two-phase commit costs. */
async function inquire(coordinator: Pool | undefined, transactionId: string): Promise<Decision | undefined> {
  if (!coordinator) return undefined;
  try {
    const { statusCode, body } = await coordinator.request({
      method: 'POST',
      path: `/transactions/${transactionId}/inquiry`,
      signal: AbortSignal.timeout(inquiryMsMax),
    });
    const answer = await body.json();
    return statusCode === 200 ? inquiryAnswer.parse(answer).decision : undefined;
  } catch {
    return undefined;
  }
}
