/**
 * What became of transactions that nobody runs any more: at the start and every second. Decided ones are told
 * again until every participant has acknowledged; undecided ones are aborted, at once when they are of this
 * coordinator's last life, otherwise when they are past their time, unless the log has lost decisions. Any number of
 * coordinators may recover at once: the log lets one decision stand, and telling it twice does no harm.
 */
import {
  beganAtOf,
  type Decision,
  type ParticipantName,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { repeat } from '#libs/step/repeat.ts';
import { belowTransaction, retraceTransaction, traceTransaction } from '#libs/telemetry/transaction-trace.ts';
import { undecidedMsMax } from './bounds.ts';
import type { DecisionLog, OpenTransaction } from './decision-log.ts';
import type { Participants } from './participants.ts';
import type { Testimony } from './testimony.ts';

const everyMs = 1_000;
/** Younger ones are told by whoever runs them. */
const leaveAloneMs = 2_000;
/** Since its decision: above what a living coordinator may wait for until it has told it, and its spans are sent. */
const leaseMs = 15_000;
const transactionsMax = 200;
/** Few, so that what recovery tells a participant never stands in the way of the transactions under way. */
const finishedAtOnceMax = 16;
const forgetEveryTicks = 60;
const forgetMax = 2_000;
/** Shorter than the participants keep their side of it. */
const retentionMs = 24 * 60 * 60 * 1_000;

export type RecoveryOptions = {
  log: DecisionLog;
  participants: Participants;
  running: ReadonlySet<string>;
  coordinator: string;
  /** Where what nobody has decided may be presumed aborted. */
  abortableIn: Testimony['abortableIn'];
  onRecovered(decision: Decision): void;
  onTrouble(error: unknown, what: string): void;
  /** Injected by tests. */
  retrace?: typeof retraceTransaction;
};

export type Recovery = ReturnType<typeof createRecovery>;

export function createRecovery(options: RecoveryOptions) {
  const { log, participants, running, coordinator, abortableIn, onRecovered, onTrouble } = options;
  const { retrace = retraceTransaction } = options;
  const startedAt = Date.now();
  /** Whose spans have been told again: the participants may have to be told several times. */
  const retold = new Set<string>();
  /** Who has acknowledged which end: that another one does not answer is no reason to tell them again. */
  const acknowledged = new Map<string, Set<ParticipantName>>();

  /** Not by a living coordinator: either it was ours, in our last life, or its time is over. */
  const isAbandoned = ({ transactionId, beganAt, coordinator: owner }: OpenTransaction): boolean => {
    if (running.has(transactionId)) return false;
    const began = beganAt.getTime();
    return (owner === coordinator && began < startedAt) || Date.now() - began > undecidedMsMax;
  };

  /** The decision that stands, made now where nobody is left to make it; undefined while somebody may be, or nobody may. */
  async function decisionOf(transactionId: string): Promise<Decision | undefined> {
    const row = (await log.read([transactionId])).get(transactionId);
    if (row?.decision) return row.decision;
    const found = row ?? unknownTransaction(transactionId);
    if (!isAbandoned(found)) return undefined;
    const incarnation = await abortableIn(transactionId);
    if (incarnation === undefined) return undefined;
    const abort = { participants: participantNames, decision: 'abort', answers: [] } as const;
    return log.decide({ ...found, ...abort, incarnation });
  }

  /**
   * Who sends its spans. Another coordinator does its own while it may live: told again beside it they would stand twice
   * in the trace, once as lost. What this life of this one ran, it has traced itself.
   */
  function spansOf({ transactionId, orders, coordinator: owner, ...found }: OpenTransaction) {
    const isTraced = orders.some(({ spanId, traced }) => spanId !== undefined && !traced);
    if (!isTraced || retold.has(transactionId)) return 'sent';
    if (owner === coordinator) return found.beganAt.getTime() < startedAt ? 'lost' : 'sent';
    const since = (found.decidedAt ?? found.beganAt).getTime();
    return Date.now() - since > leaseMs ? 'lost' : 'theirs';
  }

  async function finish(found: OpenTransaction): Promise<void> {
    const { transactionId } = found;
    const spans = spansOf(found);
    const decision = found.decision ?? (await decisionOf(transactionId));
    if (!decision) return;
    const asked = (
      found.participants.length > 0 ? found.participants : participantNames
    ) as ParticipantName[];
    if (spans === 'lost') {
      retold.add(transactionId);
      retrace(found.orders, asked, { 'two_phase.transaction_id': transactionId }, found.beganAt);
    }
    const heard = acknowledged.get(transactionId) ?? new Set();
    acknowledged.set(transactionId, heard);
    const left = asked.filter((participant) => !heard.has(participant));
    if (left.length > 0) await tell(found, decision, left, heard);
    // Ended by us, nobody would tell the spans of one that has died meanwhile.
    if (heard.size < asked.length || spans === 'theirs') return;
    await log.end({ transactionId });
    onRecovered(decision);
  }

  /** Adds who acknowledges to those who have heard. */
  async function tell(
    { transactionId, orders }: OpenTransaction,
    decision: Decision,
    left: readonly ParticipantName[],
    heard: Set<ParticipantName>,
  ): Promise<void> {
    const attributes = { 'two_phase.transaction_id': transactionId };
    const trace = traceTransaction(`recover: ${decision}`, belowTransaction(orders), attributes);
    await Promise.all(
      left.map(async (participant) => {
        const phase = trace.phase(`${decision} ${participant}`, 'call');
        const answer = await participants[participant]
          [decision]({ transactionId })
          .catch((error: Error) => ({ state: 'failed' as const, failure: error.message }));
        phase.end({ 'two_phase.state': answer.state }, answer.failure);
        if (answer.state !== 'failed') heard.add(participant);
        if (answer.state === 'contradicts') {
          onTrouble({ transactionId, participant, decision }, 'an operator ended this branch the other way');
        }
      }),
    );
    trace.end();
    await trace.sent;
  }

  /** What is noted of transactions that are open no more. */
  function forgetAllBut(stillOpen: Set<string>): void {
    for (const noted of [retold, acknowledged]) {
      for (const id of noted.keys()) if (!stillOpen.has(id)) noted.delete(id);
    }
    stillOpen.clear();
  }

  async function finishAll(left: OpenTransaction[]): Promise<void> {
    for (let found = left.shift(); found !== undefined; found = left.shift()) await finish(found);
  }

  let tick = 0;
  /** Where the last look ended, when there was more than it could take: what stays in doubt for long stops nobody behind it. */
  let lookedUpTo: OpenTransaction | undefined;
  /** Everything open since the first one was looked at. */
  const stillOpen = new Set<string>();
  const loop = repeat({
    pauseMs: everyMs,
    onTrouble: (error) => onTrouble(error, 'recovery tries again'),
    async work() {
      const now = Date.now();
      const before = new Date(Math.max(startedAt, now - leaveAloneMs));
      const open = await log.open(before, transactionsMax, lookedUpTo);
      for (const { transactionId } of open) stillOpen.add(transactionId);
      lookedUpTo = open.length === transactionsMax ? open.at(-1) : undefined;
      if (!lookedUpTo) forgetAllBut(stillOpen);
      const left = open.filter(({ transactionId }) => !running.has(transactionId));
      await Promise.all(Array.from({ length: finishedAtOnceMax }, () => finishAll(left)));
      tick += 1;
      if (tick % forgetEveryTicks === 0) await log.forget(new Date(now - retentionMs), forgetMax);
    },
  });

  return { decisionOf, stop: () => loop.stop() };
}

/** One that the log has never heard of: its age stands in its id. */
function unknownTransaction(transactionId: string): OpenTransaction {
  const beganAt = new Date(beganAtOf(transactionId));
  return {
    transactionId,
    orders: [],
    beganAt,
    participants: [],
    coordinator: '',
    decision: null,
    decidedAt: null,
  };
}
