/**
 * One global transaction, from its begin to its end: perform → (undo what others refused) → prepare → decide →
 * tell. Before the decision anything that goes wrong means abort; after it nothing may, and recovery goes on
 * with what is left (recovery.ts).
 */
import { randomUUIDv7 } from 'node:crypto';
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import {
  type BranchOrder,
  type Decision,
  type ParticipantName,
  placedBefore,
} from '#libs/contracts/two-phase.ts';
import type { Injector } from '#libs/faults/injector.ts';
import { strikeOrders } from '#libs/step/strike.ts';
import {
  type TransactionTrace,
  traceTransaction,
  transactionSpan,
} from '#libs/telemetry/transaction-trace.ts';
import { pauseBeforeRetry } from './bounds.ts';
import type { AnswerRow, Begun, DecisionLog } from './decision-log.ts';
import type { Participants } from './participants.ts';
import { type Ballot, collectVotes, failureOf, unanswered } from './voting.ts';

const decideAttemptsMax = 6;
/** With all the pauses some 5 s, beside what the answers take. */
const firstDecidePauseMs = 80;

/** How it ended. `unknown`: the log could not be reached, and recovery will find out what stands there. */
export type Ended = {
  state: 'committed' | 'aborted' | 'unknown';
  refused: ReadonlyMap<string, string>;
  failure?: { detail: string; retry: boolean };
  at: string;
};

export type TransactionTools = {
  log: DecisionLog;
  participants: Participants;
  /** The injector of now: it becomes another one when the broker is found. */
  injector(): Injector;
  /** Transactions that run in this process: recovery leaves them alone. */
  running: Set<string>;
  /** What each order is to be answered with, kept with the decision. */
  answersFor(transactionId: string, ended: Ended): AnswerRow[];
  /** What is done after the answer, and what failed with it: a stop waits for it. */
  afterwards(work: Promise<unknown>, what: string): void;
  onEnded(mode: TwoPhaseMode, ended: Ended, orders: number): void;
  onTrouble(error: unknown, what: string): void;
};

export async function runTransaction(
  orders: readonly BranchOrder[],
  mode: TwoPhaseMode,
  tools: TransactionTools,
): Promise<Ended> {
  const { log, running, onTrouble } = tools;
  const transactionId = randomUUIDv7();
  const attributes = {
    'two_phase.transaction_id': transactionId,
    'two_phase.mode': mode,
    'two_phase.group_size': orders.length,
  };
  const trace = traceTransaction(transactionSpan, orders, attributes);
  const begun = { transactionId, orders: trace.noted, beganAt: new Date() };
  running.add(transactionId);
  // Beside the branches, not before them: it tells people what is under way, and recovery whose it is.
  const noted = log
    .begin(begun)
    .catch((error) => onTrouble(error, 'a transaction runs without its begin record'));
  try {
    const ended = await decide({ ...begun, noted, mode, trace }, orders, tools);
    trace.end({ 'two_phase.outcome': ended.state }, ended.failure?.detail);
    tools.onEnded(mode, ended, orders.length);
    return ended;
  } finally {
    running.delete(transactionId);
  }
}

/**
 * An order that one participant has from before, perhaps from a saga that is still under way, must leave no
 * entry with the others: done and undone here, it would stand in the saga's way. Alone it is simply aborted.
 */
const alreadyElsewhere = { detail: `one of the group: ${placedBefore}`, retry: true };

type Under = Begun & { noted: Promise<unknown>; mode: TwoPhaseMode; trace: TransactionTrace };

async function decide(under: Under, orders: readonly BranchOrder[], tools: TransactionTools): Promise<Ended> {
  const { mode, trace } = under;
  const ballot = await collectVotes({ ...under, orders, participants: tools.participants });
  const { refused } = ballot;
  const isGroup = mode === 'grouped' && !ballot.failure && refused.size < orders.length;
  const { failure, at } = !isGroup
    ? ballot
    : [...refused.values()].includes(placedBefore)
      ? { failure: alreadyElsewhere, at: ballot.at }
      : await prepareGroup(under, ballot, tools);
  // Alone, a refused order is an aborted transaction; in a group it has been undone, and the rest stands.
  const stands = !failure && (mode === 'grouped' ? refused.size < orders.length : refused.size === 0);
  const wanted: Ended = {
    state: stands ? 'committed' : 'aborted',
    refused,
    at,
    ...(failure ? { failure } : {}),
  };
  if (!stands) return abort(under, ballot, wanted, tools);

  // Long since there, but for the first one of a process: without it the branches of a coordinator that dies
  // here are in doubt until its time is over, even when it is back at once.
  await under.noted;
  await strikeOrders(tools.injector(), 'coordinator.before-decision', orders);
  const phase = trace.phase('decide');
  const decision = await decideCommit(under, ballot.asked, wanted, tools);
  phase.end({ 'two_phase.decision': decision ?? 'unknown' });
  if (decision === undefined) return { ...wanted, state: 'unknown' };
  if (decision === 'abort') {
    // Somebody else decided first: an operator's inquiry, or recovery in a replica that thought us dead.
    const taken = { detail: 'it took too long and was aborted', retry: true };
    return abort(under, ballot, { ...wanted, state: 'aborted', failure: taken }, tools);
  }
  await strikeOrders(tools.injector(), 'coordinator.after-decision', orders);
  await tellCommit(under, orders, ballot.asked, tools);
  return wanted;
}

/** Each participant undoes what another one refused, in its open transaction, and prepares what stands. */
async function prepareGroup(
  { transactionId, trace }: Under,
  { asked, refused, at }: Ballot,
  { participants }: TransactionTools,
): Promise<Pick<Ballot, 'failure' | 'at'>> {
  const undo = [...refused].map(([orderId, reason]) => ({ orderId, reason }));
  const votes = await Promise.all(
    asked.map(async (participant) => {
      const phase = trace.phase(`prepare ${participant}`, 'call');
      const answer = await participants[participant]
        .prepare({ transactionId, undo })
        .catch((error: Error) => unanswered(transactionId, error));
      phase.end({ 'two_phase.vote': answer.vote, 'two_phase.participant': participant }, answer.failure);
      return { participant, ...answer };
    }),
  );
  const closed = votes.find((vote) => vote.participant === 'order' && vote.vote === 'yes');
  const against = votes.filter(({ vote }) => vote === 'no');
  if (against.length === 0) return { at: closed?.at ?? at };
  return { failure: failureOf(against), at };
}

/** Undefined when the log does not answer: then nobody may be told anything. */
async function decideCommit(
  { transactionId, orders, beganAt }: Under,
  participants: readonly ParticipantName[],
  ended: Ended,
  { log, answersFor, onTrouble }: TransactionTools,
): Promise<Decision | undefined> {
  const answers = answersFor(transactionId, ended);
  const verdict = { transactionId, orders, beganAt, participants, decision: 'commit', answers } as const;
  for (let attempt = 1; attempt <= decideAttemptsMax; attempt++) {
    try {
      return await log.decide(verdict);
    } catch (error) {
      onTrouble(error, 'the decision log does not answer; the branches stay in doubt');
      await pauseBeforeRetry(attempt, firstDecidePauseMs);
    }
  }
  return undefined;
}

/** Presumed abort: nobody waits for a log or an acknowledgement, except a caller who will ask again by key. */
async function abort(
  { transactionId, orders, beganAt, trace }: Under,
  { asked, votes }: Ballot,
  ended: Ended,
  { log, participants, answersFor, afterwards }: TransactionTools,
): Promise<Ended> {
  const answers = ended.failure ? [] : answersFor(transactionId, ended);
  const verdict = {
    transactionId,
    orders,
    beganAt,
    participants: asked,
    decision: 'abort',
    answers,
  } as const;
  const deciding = trace.phase('decide');
  deciding.end({ 'two_phase.decision': 'abort' });
  // Who voted no on its own has rolled back already.
  const left = votes.filter(({ vote, failure }) => vote !== 'no' || failure !== undefined);
  const telling = left.map(async ({ participant }) => {
    const phase = trace.phase(`abort ${participant}`, 'call');
    const answer = await participants[participant].abort({ transactionId }).catch(() => undefined);
    phase.end({ 'two_phase.state': answer?.state ?? 'unanswered' });
    return answer?.state === 'ended';
  });
  const noted = answers.some(({ bodyHash }) => bodyHash !== null)
    ? log.decide(verdict)
    : log.noteAbort(verdict);
  const done = Promise.all([Promise.all(telling), noted]).then(([told]) => {
    return close({ transactionId, trace }, told.every(Boolean), log);
  });
  afterwards(done, 'an abort is left to recovery');
  const stands = await noted.catch(() => undefined);
  // A refusal under a key must be the answer to every repeat: it is none before it is kept. And it is no answer at
  // all to what an operator has had committed meanwhile (accept.ts).
  const isKept = stands === 'abort' || (!stands && answers.every(({ bodyHash }) => bodyHash === null));
  return isKept ? ended : { ...ended, state: 'unknown' };
}

async function tellCommit(
  { transactionId, trace }: Under,
  orders: readonly BranchOrder[],
  asked: readonly ParticipantName[],
  { log, participants, injector, afterwards, onTrouble }: TransactionTools,
): Promise<void> {
  const tell = async (participant: ParticipantName) => {
    const phase = trace.phase(`commit ${participant}`, 'call');
    const answer = await participants[participant]
      .commit({ transactionId })
      .catch((error: Error) => ({ state: 'failed' as const, failure: error.message }));
    phase.end({ 'two_phase.state': answer.state }, answer.failure);
    if (answer.state !== 'ended') onTrouble(answer, `${participant} has not committed; recovery goes on`);
    return answer.state === 'ended';
  };
  const [first, ...others] = asked;
  const isArmed = orders.some((order) => injector().armed({ ...order, dishIds: '' }));
  const told: boolean[] = [];
  if (isArmed && first) {
    told.push(await tell(first));
    await strikeOrders(injector(), 'coordinator.after-first-commit', orders);
  } else if (first) others.unshift(first);
  told.push(...(await Promise.all(others.map(tell))));
  afterwards(close({ transactionId, trace }, told.every(Boolean), log), 'an end is noted again by recovery');
}

/** Not before its spans are sent: of a transaction of which neither is noted, recovery tells them again. */
async function close(
  { transactionId, trace }: Pick<Under, 'transactionId' | 'trace'>,
  isEnded: boolean,
  log: DecisionLog,
): Promise<void> {
  await trace.sent;
  await (isEnded ? log.end({ transactionId }) : log.noteTraced({ transactionId }));
}
