/** The participants as the coordinator sees them: calls that are gathered per turn, and bounded in time. */
import { Pool } from 'undici';
import {
  type EndAnswer,
  type EndCommand,
  type ParticipantName,
  type PerformAnswer,
  type PerformCommand,
  type PrepareAnswer,
  type PrepareCommand,
  participantNames,
} from '#libs/contracts/two-phase.ts';
import { createCaller } from '#libs/service/ndjson.ts';
import type { CoordinatorConfig } from './config.ts';

const connectionsMax = 64;
/** Above the participants' lock timeout, so that a lock that is not to be had is told and not guessed. */
const voteMsMax = 7_000;
const endMsMax = 5_000;

export type ParticipantCalls = {
  perform(command: PerformCommand): Promise<PerformAnswer>;
  prepare(command: PrepareCommand): Promise<PrepareAnswer>;
  commit(command: EndCommand): Promise<EndAnswer>;
  abort(command: EndCommand): Promise<EndAnswer>;
};
export type Participants = Record<ParticipantName, ParticipantCalls>;

export function createParticipants(config: CoordinatorConfig): {
  participants: Participants;
  orderService: Pool;
  close(): Promise<void>;
} {
  const pools = participantNames.map((name) => {
    const url = config[`${name.toUpperCase() as Uppercase<ParticipantName>}_URL`];
    return [name, new Pool(url, { connections: connectionsMax })] as const;
  });
  const callsOf = (pool: Pool): ParticipantCalls => {
    const call = <Command, Answer>(path: string, answerMsMax: number) =>
      createCaller<Command, Answer>({ pool, path: `/two-phase/${path}`, key: 'commands', answerMsMax });
    return {
      perform: call('perform', voteMsMax),
      prepare: call('prepare', voteMsMax),
      commit: call('commit', endMsMax),
      abort: call('abort', endMsMax),
    };
  };
  return {
    participants: Object.fromEntries(pools.map(([name, pool]) => [name, callsOf(pool)])) as Participants,
    orderService: pools[0]?.[1] as Pool,
    async close() {
      await Promise.all(pools.map(([, pool]) => pool.close()));
    },
  };
}
