/**
 * How the branches of a transaction are asked, and what their votes come to.
 *
 * The order of the branches is what keeps transactions from waiting for each other across databases, where no
 * server sees the cycle: only payment (wallets) and inventory (stock) lock rows that orders share, so every
 * transaction takes payment's before inventory's (Havender's ordered resources), while order and logistics,
 * whose rows belong to one order, go beside them. `unordered` asks all at once (docs/decisions/0014).
 */
import type { TwoPhaseMode } from '#libs/contracts/orders.ts';
import {
  type BranchOrder,
  type ParticipantName,
  type PerformAnswer,
  type PrepareAnswer,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import type { TransactionTrace } from '#libs/telemetry/transaction-trace.ts';
import type { Participants } from './participants.ts';

export type Vote = PerformAnswer & { participant: ParticipantName };

export type Ballot = {
  /** Who was asked: these are the participants of the transaction. */
  asked: ParticipantName[];
  votes: Vote[];
  /** Orders that somebody refused, each with the first reason. */
  refused: Map<string, string>;
  /** Why it cannot be prepared at all; `retry` when that has nothing to do with the orders. */
  failure?: { detail: string; retry: boolean };
  /** When the order participant closed its branch. */
  at: string;
};

export async function collectVotes(options: {
  transactionId: string;
  orders: readonly BranchOrder[];
  mode: TwoPhaseMode;
  participants: Participants;
  trace: TransactionTrace;
}): Promise<Ballot> {
  const { transactionId, orders, mode, participants, trace } = options;
  const thenPrepare = mode !== 'grouped';

  const ask = async (participant: ParticipantName, of = orders): Promise<Vote> => {
    const phase = trace.ask(`${thenPrepare ? 'prepare' : 'perform'} ${participant}`, participant);
    const told = of.map((order) => ({ ...order, traceparent: phase.traceparentOf(order.orderId) }));
    const answer = await participants[participant]
      .perform({ transactionId, orders: told, thenPrepare })
      .catch((error: Error) => unanswered(transactionId, error));
    const vote = answer.vote ?? (answer.refusals.length > 0 ? 'partly' : 'open');
    phase.end({ 'two_phase.vote': vote, 'two_phase.participant': participant }, answer.failure);
    return { ...answer, participant };
  };

  const inOrder = async (): Promise<Vote[]> => {
    const payment = await ask('payment');
    const refused = new Set(payment.refusals.map(({ orderId }) => orderId));
    const left = orders.filter(({ orderId }) => !refused.has(orderId));
    if (payment.vote === 'no' || left.length === 0) return [payment];
    return [payment, await ask('inventory', left)];
  };

  if (mode === 'unordered') {
    return countVotes(await Promise.all(participantNames.map((participant) => ask(participant))));
  }
  const [order, shared, logistics] = await Promise.all([ask('order'), inOrder(), ask('logistics')]);
  return countVotes([order, ...shared, logistics]);
}

/** A vote that did not come is no vote; whether it was cast is unknown. */
export const unanswered = (transactionId: string, error: Error): PerformAnswer & PrepareAnswer => ({
  transactionId,
  refusals: [],
  vote: 'no',
  failure: `no answer: ${error.message}`,
  retry: true,
  at: new Date().toISOString(),
});

function countVotes(votes: readonly Vote[]): Ballot {
  const refused = new Map<string, string>();
  for (const { refusals } of votes) {
    for (const { orderId, reason } of refusals) if (!refused.has(orderId)) refused.set(orderId, reason);
  }
  const asked = votes.map(({ participant }) => participant);
  const at = votes.find(({ participant }) => participant === 'order')?.at ?? new Date().toISOString();
  const ballot = { asked, votes: [...votes], refused, at };
  const failures = votes.filter(({ failure }) => failure !== undefined);
  return failures.length === 0 ? ballot : { ...ballot, failure: failureOf(failures) };
}

/** Of votes against: who and why, and whether all of them would try again. */
export function failureOf(
  votes: readonly (Pick<Vote, 'participant'> & Pick<PrepareAnswer, 'failure' | 'retry'>)[],
): { detail: string; retry: boolean } {
  const detail = votes.map(({ participant, failure }) => `${participant}: ${failure}`).join('; ');
  return { detail, retry: votes.every(({ retry }) => retry === true) };
}
