/** What stands prepared and waits for a decision, over all participants; and the two ways to end the wait. */
import { endAnswerLine } from '#libs/contracts/end-answer.ts';
import { Problem } from '#libs/contracts/problems.ts';
import {
  type Decision,
  type EndAnswer,
  gidParams,
  type InDoubtItem,
  inquiryAnswer,
  type ParticipantName,
  participantNames,
  type Resolution,
  readGid,
  resolveBody,
} from '#libs/contracts/two-phase.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import { assertOperator, assertToken } from '#libs/service/operator.ts';
import type { GatewayConfig } from './config.ts';
import type { Upstreams } from './pass-on.ts';

/** People look at this when something stands still: whoever does is left out, or told so. */
const withinMs = 4_000;

export function inDoubtRoutes(app: FastifyInstance, upstreams: Upstreams, config: GatewayConfig): void {
  const read = async <Answer>(service: ParticipantName | 'coordinator', path: string, body?: object) => {
    const request = body
      ? {
          method: 'POST',
          path,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          // It only looks something up.
          repeat: 'always' as const,
          withinMs,
        }
      : { method: 'GET', path, withinMs };
    const answer = await upstreams.send(service, request);
    if (answer.status !== 200)
      throw new Problem('service-unavailable', `${service} answered ${answer.status}`);
    return JSON.parse(answer.body.toString()) as Answer;
  };

  // One replica of each is enough: it reads what stands prepared in the database that they share.
  app.get('/api/in-doubt', async () => {
    const missing: string[] = [];
    const parts = await Promise.all(
      participantNames.map((service) =>
        read<{ items: InDoubtItem[] }>(service, '/two-phase/in-doubt').catch(() => {
          missing.push(service);
          return { items: [] };
        }),
      ),
    );
    const items = parts.flatMap((part) => part.items).sort((a, b) => b.ageMs - a.ageMs);
    await nameOrders(items);
    return { items, nextCursor: null, missing };
  });

  /** Whose orders it holds only the replica knows that prepared it, until it ends; the decision log may know as well. */
  async function nameOrders(items: InDoubtItem[]): Promise<void> {
    const unnamed = items.filter(({ orderIds }) => orderIds.length === 0);
    if (unnamed.length === 0) return;
    const transactionIds = [...new Set(unnamed.map(({ transactionId }) => transactionId))];
    const answer = await read<{ items: { transactionId: string; orders: { orderId: string }[] }[] }>(
      'coordinator',
      '/transactions/look-up',
      { transactionIds },
    ).catch(() => ({ items: [] }));
    const orders = new Map(answer.items.map((found) => [found.transactionId, found.orders]));
    for (const item of unnamed) {
      item.orderIds = orders.get(item.transactionId)?.map(({ orderId }) => orderId) ?? [];
    }
  }

  app.post('/api/in-doubt/:gid/resolve', async (request): Promise<Resolution> => {
    const { gid } = parse(gidParams, request.params);
    const { heuristic, confirm } = parse(resolveBody, request.body ?? {});
    assertOperator(request, config, `${heuristic ?? 'resolve'} ${gid}`);
    const read = readGid(gid);
    const participant = participantNames.find((name) => name === read?.participant);
    if (!read || !participant) throw new Problem('not-found', `${gid} is no gid of this lab`);
    if (heuristic === undefined) return askCoordinator(gid, read.transactionId, participant);
    // Against the coordinator's word, or without it: being at this machine is not enough.
    assertToken(request.headers.authorization, config.ADMIN_TOKEN);
    if (confirm !== gid) throw new Problem('confirmation-differs');
    return force(gid, read.transactionId, participant, heuristic);
  });

  async function askCoordinator(
    gid: string,
    transactionId: string,
    participant: ParticipantName,
  ): Promise<Resolution> {
    const path = `/transactions/${transactionId}/inquiry`;
    // Asking twice is answered the same: the first decision in the log stands.
    const asked = { method: 'POST', path, repeat: 'always', withinMs } as const;
    const { status, body } = await upstreams.send('coordinator', asked);
    if (status === 409) throw new Problem('undecided');
    if (status !== 200) throw new Problem('service-unavailable', `the coordinator answered ${status}`);
    const { decision } = inquiryAnswer.parse(JSON.parse(body.toString()));
    const answer = await upstreams.send(participant, {
      method: 'POST',
      path: `/two-phase/${decision}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ commands: [{ transactionId }] }),
      // What has ended as decided is told so again.
      repeat: 'always',
    });
    if (answer.status !== 200) {
      throw new Problem('service-unavailable', `${participant} answered ${answer.status}`);
    }
    const { state, failure = 'it did not say why' } = readEnd(answer.body);
    if (state === 'failed') {
      throw new Problem('service-unavailable', `${participant} has not ended it: ${failure}`);
    }
    if (state === 'contradicts') {
      throw new Problem('ended-otherwise', `the log says ${decision}, and ${gid} has ended the other way`);
    }
    return { gid, decision, by: 'coordinator' };
  }

  async function force(
    gid: string,
    transactionId: string,
    participant: ParticipantName,
    decision: Decision,
  ): Promise<Resolution> {
    const answer = await upstreams.send(participant, {
      method: 'POST',
      path: '/two-phase/force',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${config.ADMIN_TOKEN}` },
      body: JSON.stringify({ transactionId, decision }),
      // What an operator has ended so is told so again.
      repeat: 'always',
    });
    if (answer.status === 404) throw new Problem('not-found', `${gid} is not prepared`);
    if (answer.status === 409) throw new Problem('ended-otherwise');
    if (answer.status !== 200)
      throw new Problem('service-unavailable', `${participant} answered ${answer.status}`);
    return { gid, decision, by: 'operator' };
  }
}

/** The one line of the answer to one command. Without it the participant went away while it worked. */
function readEnd(body: Buffer): { state: EndAnswer['state']; failure?: string | undefined } {
  const line = body.toString();
  if (line === '') return { state: 'failed', failure: 'it went away' };
  return endAnswerLine.parse(JSON.parse(line)).answer;
}
