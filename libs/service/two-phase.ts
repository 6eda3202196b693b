/** Puts a service's part in two-phase commit together: pools, participant, ends, routes. */
import {
  branchLockMsMax,
  type Decision,
  inquiryAnswer,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { createPool } from '#libs/postgres/pool.ts';
import { createBranchEnds } from '#libs/step/branch-ends.ts';
import { committedBranches, readPrepared } from '#libs/step/branches.ts';
import { startInquiries } from '#libs/step/inquiries.ts';
import type { OutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { createParticipant, type ParticipantOptions } from '#libs/step/participant.ts';
import { participantRoutes } from '#libs/step/participant-routes.ts';
import { repeat } from '#libs/step/repeat.ts';
import { traceBatch, traceNothing } from '#libs/telemetry/batch-trace.ts';
import { tracingOn } from '#libs/telemetry/tracing-on.ts';
import type { ServiceConfig } from './config.ts';
import type { ServiceDefinition } from './definition.ts';
import type { FastifyInstance } from './http.ts';
import type { Metrics } from './metrics.ts';
import { createReplicas, type Replicas } from './replicas.ts';

/** Two to sixteen made no difference (docs/performance.md). */
const endConnectionsMax = 8;
/** A bar waits at most so long for the branch that it bars; it is tried again. */
const endLockTimeoutMs = 1_000;
/** Everything may be asked for again: a database that does not answer must not hold all its connections. */
const answerMsMax = 20_000;
const inquiryMsMax = 3_000;
const forgetEveryMs = 5_000;

export type TwoPhaseOptions = {
  service: ServiceDefinition;
  config: ServiceConfig;
  metrics: Metrics;
  onTrouble(error: unknown, what: string): void;
};

/** What a participant needs beside its database, and may have to wait for. */
export type TwoPhaseParts = {
  publisher: OutboxPublisher;
  injector: Injector;
  onVerdicts: ParticipantOptions['onVerdicts'];
};

/** Asks about what stands in doubt from now on; takes part once it is told to. Undefined: it takes no part. */
export function createTwoPhase({ service, config, metrics, onTrouble }: TwoPhaseOptions) {
  const name = participantNames.find((each) => each === service.name);
  const { participation } = service;
  if (!participation || !name) return undefined;
  const { DATABASE_URL, BRANCH_CONNECTIONS_MAX, COORDINATOR_URL, RESOLVE_REPLICAS, ADMIN_TOKEN } = config;
  const onError = (error: Error) => onTrouble(error, 'an idle database connection ended');
  const now = () => new Date();

  const pool = createPool(DATABASE_URL, {
    name: `${name} branches`,
    purpose: 'steps',
    connectionsMax: BRANCH_CONNECTIONS_MAX,
    lockTimeoutMs: branchLockMsMax,
    answerTimeoutMs: answerMsMax,
    onError,
  });
  const endPool = createPool(DATABASE_URL, {
    name: `${name} branch ends`,
    purpose: 'steps',
    connectionsMax: endConnectionsMax,
    lockTimeoutMs: endLockTimeoutMs,
    answerTimeoutMs: answerMsMax,
    onError,
  });
  const coordinator =
    COORDINATOR_URL === undefined
      ? undefined
      : createReplicas({ urls: COORDINATOR_URL, resolve: RESOLVE_REPLICAS, connectionsMax: 2 });
  const inquiries = startInquiries({
    service: name,
    pool: endPool,
    now,
    inquire: (transactionId) => inquire(coordinator, transactionId),
    onResolved: (decision) => metrics.inquiries.inc({ decision }),
    onTrouble,
  });
  let stopParticipant = async () => {};
  let stopForgetting = async () => {};

  return {
    takePart(app: FastifyInstance, { publisher, injector, onVerdicts }: TwoPhaseParts): void {
      const participant = createParticipant({
        service: name,
        participation,
        pool,
        injector,
        traceBatch: tracingOn ? traceBatch : traceNothing,
        now,
        onVerdicts,
        onTrouble,
      });
      stopParticipant = participant.stop;
      const ends = createBranchEnds({
        service: name,
        participant,
        pool: endPool,
        publisher,
        injector,
        now,
        onReleased: (seconds, orders) => metrics.lockHold.inc({ protocol: '2pc' }, seconds * orders),
      });
      const forgetting = repeat({
        pauseMs: forgetEveryMs,
        work: ends.forgetEndedElsewhere,
        onTrouble: (error) => onTrouble(error, 'branches that ended elsewhere are looked for again'),
      });
      stopForgetting = forgetting.stop;
      participantRoutes(app, {
        service: name,
        participant,
        ends,
        readPrepared: () => readPrepared(endPool),
        readCommitted: (question) => committedBranches(endPool, question, now()),
        adminToken: ADMIN_TOKEN,
      });
    },
    async stop() {
      await inquiries.stop();
      await stopForgetting();
      await stopParticipant();
      await coordinator?.close();
      await pool.end();
      await endPool.end();
    },
  };
}

/** A coordinator that is gone is no decision: the branch stays in doubt, which is what two-phase commit costs. */
async function inquire(
  coordinator: Replicas | undefined,
  transactionId: string,
): Promise<Decision | undefined> {
  if (!coordinator) return undefined;
  try {
    const path = `/transactions/${transactionId}/inquiry`;
    // Every coordinator reads the same log, and the first decision in it stands, however often it is asked for.
    const asked = { method: 'POST', path, repeat: 'always', withinMs: inquiryMsMax } as const;
    const { status, body } = await coordinator.request(asked);
    return status === 200 ? inquiryAnswer.parse(JSON.parse(body.toString())).decision : undefined;
  } catch {
    return undefined;
  }
}
