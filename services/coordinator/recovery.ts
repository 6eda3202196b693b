/**
 * What became of transactions that nobody runs any more: at the start and every second. Decided ones are told
 * again until every participant has acknowledged; undecided ones are aborted, at once when they are of this
 * coordinator's last life, otherwise when they are past their time. Any number of coordinators may recover at
 * once: the log lets one decision stand, and telling it twice does no harm.
 */
import {
  beganAtOf,
  type Decision,
  type ParticipantName,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { repeat } from '#libs/step/repeat.ts';
import { traceTransaction } from '#libs/telemetry/transaction-trace.ts';
import type { DecisionLog, OpenTransaction } from './decision-log.ts';
import type { Participants } from './participants.ts';

const everyMs = 1_000;
/** Younger ones are told by whoever runs them. */
const leaveAloneMs = 2_000;
/** Above everything that a living coordinator may wait for before it decides. */
export const undecidedMsMax = 20_000;
const transactionsMax = 200;
const forgetEveryTicks = 60;
const forgetMax = 2_000;
/** Shorter than the participants keep their side of it. */
const retentionMs = 24 * 60 * 60 * 1_000;

export type RecoveryOptions = {
  log: DecisionLog;
  participants: Participants;
  running: ReadonlySet<string>;
  coordinator: string;
  onRecovered(decision: Decision): void;
  onTrouble(error: unknown, what: string): void;
};

export type Recovery = ReturnType<typeof createRecovery>;

export function createRecovery(options: RecoveryOptions) {
  const { log, participants, running, coordinator, onRecovered, onTrouble } = options;
  const startedAt = Date.now();

  /** Not by a living coordinator: either it was ours, in our last life, or its time is over. */
  const isAbandoned = ({ transactionId, beganAt, coordinator: owner }: OpenTransaction): boolean => {
    if (running.has(transactionId)) return false;
    const began = beganAt.getTime();
    return (owner === coordinator && began < startedAt) || Date.now() - began > undecidedMsMax;
  };

  /** The decision that stands, made now where nobody is left to make it; undefined while somebody may be. */
  async function decisionOf(transactionId: string): Promise<Decision | undefined> {
    const row = (await log.read([transactionId])).get(transactionId);
    if (row?.decision) return row.decision;
    const found = row ?? unknownTransaction(transactionId);
    if (!isAbandoned(found)) return undefined;
    return log.decide({ ...found, participants: participantNames, decision: 'abort', answers: [] });
  }

  async function finish(found: OpenTransaction): Promise<void> {
    const { transactionId } = found;
    const decision = found.decision ?? (await decisionOf(transactionId));
    if (!decision) return;
    const name = `recover: ${decision}`;
    const trace = traceTransaction(name, found.orders, { 'two_phase.transaction_id': transactionId });
    const asked = found.participants.length > 0 ? found.participants : participantNames;
    const told = await Promise.all(
      asked.map(async (participant) => {
        const phase = trace.phase(`${decision} ${participant}`, 'call');
        const answer = await participants[participant as ParticipantName]
          [decision]({ transactionId })
          .catch((error: Error) => ({ state: 'failed' as const, failure: error.message }));
        phase.end({ 'two_phase.state': answer.state }, answer.failure);
        if (answer.state === 'contradicts') {
          onTrouble({ transactionId, participant, decision }, 'an operator ended this branch the other way');
        }
        return answer.state;
      }),
    );
    trace.end();
    if (told.includes('failed')) return;
    await log.end({ transactionId });
    onRecovered(decision);
  }

  let tick = 0;
  const loop = repeat({
    pauseMs: everyMs,
    onTrouble: (error) => onTrouble(error, 'recovery tries again'),
    async work() {
      const now = Date.now();
      const before = new Date(Math.max(startedAt, now - leaveAloneMs));
      const open = (await log.open(before, transactionsMax)).filter(
        (found) => !running.has(found.transactionId),
      );
      await Promise.all(open.map(finish));
      tick += 1;
      if (tick % forgetEveryTicks === 0) await log.forget(new Date(now - retentionMs), forgetMax);
    },
  });

  return { decisionOf, stop: () => loop.stop() };
}

/** One that the log has never heard of: its age stands in its id. */
function unknownTransaction(transactionId: string): OpenTransaction {
  const beganAt = new Date(beganAtOf(transactionId));
  return { transactionId, orders: [], beganAt, participants: [], coordinator: '', decision: null };
}
