/** The participants as the coordinator sees them: calls that are gathered per turn, and bounded in time. */
import {
  beganAtOf,
  type CommittedBranch,
  type CommittedQuestion,
  committedAnswer,
  type EndAnswer,
  type EndCommand,
  type ParticipantName,
  type PerformAnswer,
  type PerformCommand,
  type PrepareAnswer,
  type PrepareCommand,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { createReplicaCaller } from '#libs/service/ndjson.ts';
import { createReplicas, type Repeat, type Replicas } from '#libs/service/replicas.ts';
import { voteMsMax } from './bounds.ts';
import type { CoordinatorConfig } from './config.ts';

const connectionsMax = 64;
const endMsMax = 5_000;
const testifyMsMax = 3_000;

export type ParticipantCalls = {
  perform(command: PerformCommand): Promise<PerformAnswer>;
  prepare(command: PrepareCommand): Promise<PrepareAnswer>;
  commit(command: EndCommand): Promise<EndAnswer>;
  abort(command: EndCommand): Promise<EndAnswer>;
  committed(question: CommittedQuestion): Promise<CommittedBranch[]>;
};
export type Participants = Record<ParticipantName, ParticipantCalls>;

export function createParticipants(config: CoordinatorConfig): {
  participants: Participants;
  orderService: Replicas;
  close(): Promise<void>;
} {
  const services = participantNames.map((name) => {
    const urls = config[`${name.toUpperCase() as Uppercase<ParticipantName>}_URL`];
    return [name, createReplicas({ urls, resolve: config.RESOLVE_REPLICAS, connectionsMax })] as const;
  });
  return {
    participants: Object.fromEntries(
      services.map(([name, replicas]) => [name, callsOf(replicas)]),
    ) as Participants,
    orderService: services[0]?.[1] as Replicas,
    async close() {
      await Promise.all(services.map(([, replicas]) => replicas.close()));
    },
  };
}

/**
 * All calls of one transaction go to the same replica of a participant, because the transaction that performs is open
 * in that process. Every coordinator finds the same one, by the transaction's id: recovery as well.
 */
function callsOf(replicas: Replicas): ParticipantCalls {
  const call = <Command extends { transactionId: string }, Answer>(
    path: string,
    answerMsMax: number,
    repeat: Repeat,
    isFailure?: (answer: Answer) => boolean,
  ) =>
    createReplicaCaller<Command, Answer>({
      replicas,
      path: `/two-phase/${path}`,
      key: 'commands',
      answerMsMax,
      repeat,
      ...(isFailure ? { isFailure } : {}),
      candidatesFor: ({ transactionId }) => replicas.of(transactionId, beganAtOf(transactionId)),
    });
  return {
    // Once only: a second one elsewhere would wait for the first one's rows, and then be refused as known.
    perform: call('perform', voteMsMax, 'unsent'),
    // Nobody else has the open transaction; whoever is asked in place of one that has gone votes no at once.
    prepare: call('prepare', voteMsMax, 'unsent'),
    // What is prepared stands in the database, and any replica may end it, again and again.
    // A bar may wait in vain for a branch that is open in another replica: that one must hear it.
    commit: call('commit', endMsMax, 'always', hasFailed),
    abort: call('abort', endMsMax, 'always', hasFailed),
    committed: (question) => askCommitted(replicas, question),
  };
}

const hasFailed = ({ state }: EndAnswer): boolean => state === 'failed';

/** Of any replica: they share the database. */
async function askCommitted(replicas: Replicas, question: CommittedQuestion): Promise<CommittedBranch[]> {
  const { status, body } = await replicas.request({
    method: 'POST',
    path: '/two-phase/committed',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(question),
    repeat: 'always',
    withinMs: testifyMsMax,
  });
  if (status !== 200) throw new Error(`a participant answered ${status}: ${body}`);
  return committedAnswer.parse(JSON.parse(body.toString())).items;
}
