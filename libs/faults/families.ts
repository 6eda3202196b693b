/**
 * The points of the registry that are the same for every step, branch or process: what stands between a step and
 * its acknowledgement, between a vote and its end, and before a request.
 */
import type { OrderFault } from '#libs/contracts/orders.ts';
import type { FaultPoint, StepRow } from './points.ts';

export type FaultAction = OrderFault['do'];

const driverPoints = ['before-commit', 'after-commit-before-publish', 'after-publish-before-ack'] as const;
export type DriverPoint = (typeof driverPoints)[number];

export function faultPointsOf(steps: readonly StepRow[]): Record<string, FaultPoint> {
  return Object.fromEntries<FaultPoint>([
    ...steps.map((step): [string, FaultPoint] => [step.at, atStep(step)]),
    ...steps.flatMap((step) =>
      driverPoints.map((point): [string, FaultPoint] => [`${step.at}.${point}`, inDriver[point](step)]),
    ),
    ...branchSteps.flatMap((step) =>
      Object.entries(branchPoints).map(([name, point]): [string, FaultPoint] => [`${step}.${name}`, point]),
    ),
    ...Object.entries(coordinatorPoints),
    ...Object.entries(askedOverHttp).map(([process, what]): [string, FaultPoint] => [
      `${process}.http`,
      { kind: 'http', actions: ['error', 'delay', 'hang', 'crash'], ...what },
    ]),
  ]);
}

function atStep({ canRefuse, isUndo, shows, look }: StepRow): FaultPoint {
  const actions = ['error', 'delay', 'hang'] as const;
  return {
    kind: isUndo ? 'undo' : 'step',
    actions: canRefuse ? ['refuse', ...actions] : actions,
    shows,
    look,
  };
}

/** The saga's ending of every step and undo (libs/step/batch.ts). */
const inDriver: Record<DriverPoint, (step: StepRow) => FaultPoint> = {
  'before-commit': ({ byRequest }) => ({
    kind: 'saga',
    actions: ['crash', 'error', 'delay', 'hang'],
    ...(byRequest
      ? {
          shows: 'all is written and nothing stands: it is as if nobody had asked, until somebody asks again',
          look: 'no answer (503); asked again (the same Idempotency-Key, or the watchdog) it happens once',
        }
      : {
          shows: 'all is written and nothing stands: the batch is rolled back, and its messages come again',
          look: 'timeline: `attempt` 2, an ack wait (10 s) later; trace: a gap and one process span, of the second attempt',
        }),
  }),
  'after-commit-before-publish': ({ byRequest, isSilent }) => ({
    kind: 'saga',
    actions: ['crash', 'delay', 'hang', ...(isSilent ? [] : (['duplicate'] as const))],
    ...(isSilent
      ? {
          shows: 'done, with nothing to say: the message comes again and changes nothing',
          look: 'one notification; timeline: `attempt` 1; `saga_retries_total`; trace: a second process span with `saga.repeat`',
        }
      : byRequest
        ? {
            shows: 'done, but whoever asked is not answered and nobody is told: the relay tells',
            look: 'no answer (503), and the order goes on all the same 2 s later; `saga_outbox_relayed_total`',
          }
        : {
            shows:
              'done, and nobody has been told: the relay tells, and the message that comes again is known',
            look: 'timeline: `attempt` 1, and the next step 2 s later; `saga_outbox_relayed_total`; trace: a second process span with `saga.repeat`',
          }),
  }),
  'after-publish-before-ack': ({ byRequest }) => ({
    kind: 'saga',
    actions: ['crash', 'delay', 'hang', ...(byRequest ? [] : (['drop-ack'] as const))],
    ...(byRequest
      ? {
          shows: 'done, told and answered: only the mark in the outbox is missing, so it is told twice',
          look: 'the order goes on at once; `saga_outbox_relayed_total`; every listener has it once',
        }
      : {
          shows: 'done and told, but not acknowledged: the message comes again, and nothing happens twice',
          look: 'the order goes on at once; `saga_retries_total` an ack wait (10 s) later; trace: a second process span with `saga.repeat`, and no second send',
        }),
  }),
};

/** Who votes; the branch is named after the step that it runs. */
const branchSteps = ['order.place', 'payment.charge', 'inventory.reserve', 'logistics.assign'] as const;

const branchPoints: Record<string, FaultPoint> = {
  'before-prepare': {
    kind: 'branch',
    actions: ['crash', 'error', 'delay', 'hang'],
    shows: 'a vote that never comes: all abort',
    look: 'the coordinator tries again (`saga.attempt` 2 in the trace); nothing is in doubt anywhere',
  },
  'after-prepare': {
    kind: 'branch',
    actions: ['crash', 'error', 'delay', 'hang'],
    shows: 'a vote that is lost: prepared here, and all abort',
    look: '`npx lab in-doubt`: one branch with its locks, until the abort reaches it',
  },
  'before-commit-prepared': {
    kind: 'branch',
    actions: ['crash', 'delay', 'hang'],
    shows: 'decided, but not yet everywhere: the coordinator asks until it is',
    look: '`npx lab in-doubt`: one branch left, and who waits for its rows; trace: `recover: commit`',
  },
};

const coordinatorPoints: Record<string, FaultPoint> = {
  'coordinator.before-decision': {
    kind: 'coordinator',
    actions: ['crash', 'delay', 'hang'],
    shows: 'all have voted, nothing is decided: every branch is in doubt and keeps its locks',
    look: '`npx lab in-doubt`: four branches; back again, the coordinator aborts them (`recover: abort`)',
  },
  'coordinator.after-decision': {
    kind: 'coordinator',
    actions: ['crash', 'delay', 'hang'],
    shows: 'the log says commit and nobody knows it yet: recovery tells them',
    look: '`npx lab in-doubt`: four branches with the decision; trace: `recover: commit`',
  },
  'coordinator.after-first-commit': {
    kind: 'coordinator',
    actions: ['crash', 'delay', 'hang'],
    shows: 'committed in one database and in doubt in the others, until recovery',
    look: 'the wallet and the stock of one order disagree for a moment; trace: `recover: commit`',
  },
};

const participant = {
  shows: 'a participant that does not answer: every vote is missing, and all abort; sagas go on',
  look: 'orders with `"protocol":"2pc"` end in 503 `transaction-aborted`; sagas do not notice',
};

/** Requests that change something. Nobody asks notification for a change, so it has no such point. */
const askedOverHttp: Record<string, { shows: string; look: string }> = {
  order: {
    shows: 'orders are not taken: 503 with a problem, and nothing has happened',
    look: 'no order, no story; the same Idempotency-Key places it once the fault has ended',
  },
  payment: participant,
  inventory: participant,
  logistics: participant,
  coordinator: {
    shows: 'two-phase commit is not to be had, and sagas go on',
    look: '503 for `"protocol":"2pc"`; branches that ask about their decision stay in doubt',
  },
};
