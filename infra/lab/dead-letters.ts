/** Dead letters and stuck undos, as the gateway tells them, and in words. */
import type { DeadLetter, DeadLetterItem, Replayed, StuckUndo } from '#libs/contracts/dead-letters.ts';
import type { LabApi } from './api.ts';

/** Read at once, and at most in all: beyond it somebody wants the API, not a screen. */
const pageMax = 200;
const lettersMax = 5_000;
const reasonCharsMax = 100;

export type Listed<Item> = { items: Item[]; missing: string[] };

/** All of them, the newest first. */
export async function readLetters(
  api: LabApi,
  { service, state }: { service?: string | undefined; state: string },
): Promise<Listed<DeadLetterItem>> {
  const items: DeadLetterItem[] = [];
  const missing = new Set<string>();
  for (let cursor: string | null | undefined; cursor !== null && items.length < lettersMax; ) {
    const query = new URLSearchParams({ state, limit: String(pageMax) });
    if (service !== undefined) query.set('service', service);
    if (cursor !== undefined) query.set('cursor', cursor);
    const { body } = await api.request<Listed<DeadLetterItem> & { nextCursor: string | null }>(
      'GET',
      `/api/dead-letters?${query}`,
    );
    items.push(...body.items);
    for (const name of body.missing) missing.add(name);
    cursor = body.nextCursor;
  }
  return { items, missing: [...missing] };
}

export const readStuck = async (api: LabApi): Promise<Listed<StuckUndo>> =>
  (await api.request<Listed<StuckUndo>>('GET', '/api/stuck')).body;

export const readLetter = async (api: LabApi, id: string): Promise<DeadLetter> =>
  (await api.request<DeadLetter>('GET', pathOf(id))).body;

export const replayLetter = async (api: LabApi, id: string, headers: Record<string, string>) =>
  (await api.request<Replayed>('POST', `${pathOf(id)}/replay`, { headers })).body;

export const discardLetter = async (api: LabApi, id: string, headers: Record<string, string>) =>
  (await api.request<DeadLetter>('POST', `${pathOf(id)}/discard`, { headers })).body;

const pathOf = (id: string): string => `/api/dead-letters/${encodeURIComponent(id)}`;

/** `payment:0199…  open  8 attempts  payment.charge  order 0199…: injected error` */
export const letterLine = ({ id, state, attempts, step, subject, orderId, reason }: DeadLetterItem): string =>
  `${id}  ${state}  ${times(attempts)}  ${step ?? subject}  ${orderId === null ? '' : `order ${orderId}: `}${brief(reason)}`;

export const stuckLine = ({ service, step, attempts, orderId, firstAt, reason }: StuckUndo): string =>
  `${service}  ${step}  ${times(attempts)} since ${firstAt}  order ${orderId}: ${brief(reason)}`;

export function letterText(letter: DeadLetter): string {
  const facts: [string, string | null][] = [
    ['letter', letter.id],
    ['state', letter.settledAt === null ? letter.state : `${letter.state} at ${letter.settledAt}`],
    ['reason', letter.reason],
    ['attempts', String(letter.attempts)],
    ['first failed', letter.firstAt],
    ['last failed', letter.lastAt],
    ['step', letter.step],
    ['order', letter.orderId],
    ['trace', letter.traceId],
    ['subject', letter.subject],
    ['message', letter.messageId],
    ...Object.entries(letter.headers).map(([name, value]): [string, string] => [`header ${name}`, value]),
  ];
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  const lines = facts.flatMap(([name, value]) => (value === null ? [] : [name.padEnd(width) + value]));
  return [...lines, letter.body].join('\n');
}

const times = (attempts: number): string => `${attempts} attempt${attempts === 1 ? '' : 's'}`;

const brief = (text: string): string =>
  text.length <= reasonCharsMax ? text : `${text.slice(0, reasonCharsMax)}…`;
