/** Dead letters of the shared lab, and a way to make some. */
import { randomUUID } from 'node:crypto';
import type { DeadLetter, DeadLetterItem, Replayed } from '#libs/contracts/dead-letters.ts';
import { call, get, type ProblemBody } from './api.ts';
import { eventually } from './eventually.ts';
import { query } from './service.ts';

/** Eight attempts, with their pauses. */
const setAsideWithinMs = 40_000;

export const deadLetters = async (search = ''): Promise<DeadLetterItem[]> =>
  (await get<{ items: DeadLetterItem[] }>(`/api/dead-letters${search}`)).items;

export const letterOfOrder = (orderId: string): Promise<DeadLetterItem> =>
  eventually(
    `a dead letter of ${orderId}`,
    async () => (await deadLetters()).find((letter) => letter.orderId === orderId),
    setAsideWithinMs,
  );

export const replay = (id: string) => call<Replayed & ProblemBody>('POST', `/api/dead-letters/${id}/replay`);
export const discard = (id: string) =>
  call<DeadLetter & ProblemBody>('POST', `/api/dead-letters/${id}/discard`);

/** A constraint that some orders cannot keep: to the service, a bug in its own database. */
export async function poison(service: string, table: string, condition: string) {
  const name = `poison_${randomUUID().slice(0, 8)}`;
  await query(service, `alter table ${table} add constraint ${name} check (${condition}) not valid`);
  return { name, heal: () => query(service, `alter table ${table} drop constraint if exists ${name}`) };
}
