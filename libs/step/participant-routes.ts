/** The routes of a participant in two-phase commit: the same for every service, and for its coordinator only. */
import { z } from 'zod';
import { Problem } from '#libs/contracts/problems.ts';
import {
  type CommittedBranch,
  type CommittedQuestion,
  committedQuestion,
  decisions,
  endBody,
  gidOf,
  type InDoubtItem,
  type ParticipantName,
  performBody,
  prepareBody,
  readGid,
} from '#libs/contracts/two-phase.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { answerEach } from '#libs/service/ndjson.ts';
import { assertToken } from '#libs/service/operator.ts';
import type { BranchEnds } from './branch-ends.ts';
import type { PreparedRow } from './branches.ts';
import type { Participant } from './participant.ts';

/** A hundred orders of full size, and as many commands. */
const bodyBytesMax = 8 * 1024 * 1024;

const forceBody = z.strictObject({ transactionId: z.uuid(), decision: z.enum(decisions) });

export type ParticipantRoutesOptions = {
  service: ParticipantName;
  participant: Participant;
  ends: BranchEnds;
  readPrepared(): Promise<PreparedRow[]>;
  readCommitted(question: CommittedQuestion): Promise<CommittedBranch[]>;
  adminToken: string | undefined;
};

export function participantRoutes(app: FastifyInstance, options: ParticipantRoutesOptions): void {
  const { service, participant, ends, readPrepared, readCommitted, adminToken } = options;
  const limits = { bodyLimit: bodyBytesMax };

  app.post('/two-phase/perform', limits, async (request, reply) => {
    const { commands } = parse(performBody, request.body);
    answerEach(reply, commands, participant.perform);
  });

  app.post('/two-phase/prepare', limits, async (request, reply) => {
    const { commands } = parse(prepareBody, request.body);
    answerEach(reply, commands, participant.prepare);
  });

  for (const end of ['commit', 'abort'] as const) {
    app.post(`/two-phase/${end}`, limits, async (request, reply) => {
      const { commands } = parse(endBody, request.body);
      answerEach(reply, commands, ({ transactionId }) =>
        ends[end](transactionId).catch((error: Error) => {
          return { transactionId, state: 'failed', failure: error.message };
        }),
      );
    });
  }

  app.get('/two-phase/in-doubt', async (): Promise<{ items: InDoubtItem[] }> => {
    const names = participant.sessionNames();
    const items = (await readPrepared()).flatMap(({ preparedAt, waiting, ...row }): InDoubtItem[] => {
      const transactionId = readGid(row.gid)?.transactionId;
      if (transactionId === undefined) return [];
      const orderIds = participant.find(transactionId)?.orders.map(({ orderId }) => orderId) ?? [];
      const named = waiting.map((session) => ({ ...session, who: names.get(session.pid) ?? session.who }));
      return [
        { ...row, transactionId, service, orderIds, preparedAt: preparedAt.toISOString(), waiting: named },
      ];
    });
    return { items };
  });

  /** Testimony for the coordinator: a branch is committed only when the log has decided so (decision 0025). */
  app.post('/two-phase/committed', async (request): Promise<{ items: CommittedBranch[] }> => {
    return { items: await readCommitted(parse(committedQuestion, request.body)) };
  });

  app.post('/two-phase/force', async (request) => {
    assertToken(request.headers.authorization, adminToken);
    const { transactionId, decision } = parse(forceBody, request.body);
    request.log.warn({ transactionId, decision }, 'an operator forces a branch');
    const gid = gidOf(transactionId, service);
    const state = await ends.force(transactionId, decision);
    if (!state) throw new Problem('not-found', `${gid} is not prepared here`);
    if (state === 'contradicts') throw new Problem('ended-otherwise');
    return { gid, decision, by: 'operator' };
  });
}
