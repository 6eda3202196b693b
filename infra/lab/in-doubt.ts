/** What stands prepared and waits for its decision, as the gateway tells it, and in words. */
import type { InDoubtItem } from '#libs/contracts/two-phase.ts';
import type { LabApi } from './api.ts';

export type InDoubt = {
  items: InDoubtItem[];
  /** Services that could not be asked. */
  missing: string[];
};

export async function readInDoubt(api: LabApi): Promise<InDoubt> {
  return (await api.request<InDoubt>('GET', '/api/in-doubt')).body;
}

const msPerSecond = 1_000;
const statementCharsMax = 60;

export const seconds = (ms: number): string => `${(ms / msPerSecond).toFixed(1)} s`;

/** One database: what is in doubt there, and below each who cannot go on because of it. */
export function inDoubtLines(items: readonly InDoubtItem[]): string[] {
  const byService = Map.groupBy(items, ({ service }) => service);
  return [...byService].flatMap(([service, held]) => [
    `${service}: ${held.length} in doubt`,
    ...held.flatMap((item) => [
      `  ${item.gid}`,
      `    prepared ${seconds(item.ageMs)} ago; ${ordersOf(item)}`,
      `    locks: ${locksOf(item)}`,
      ...waitingLines(item).map((line) => `    ${line}`),
    ]),
  ]);
}

/** `payment (pid 4711) waits 2.3 s behind 2pc:…:payment: update wallets …` */
export function waitingLines({ waiting }: InDoubtItem): string[] {
  return waiting.map(({ who, pid, waitingMs, behind, statement }) => {
    const names = behind.map((name) => (/^\d+$/.test(name) ? `pid ${name}` : name));
    return `${who} (pid ${pid}) waits ${seconds(waitingMs)} behind ${names.join(', ')}: ${brief(statement)}`;
  });
}

function ordersOf({ orderIds }: InDoubtItem): string {
  if (orderIds.length === 0) return 'its orders are not known';
  return `${orderIds.length === 1 ? 'order' : `${orderIds.length} orders:`} ${orderIds.join(', ')}`;
}

function locksOf({ locks }: InDoubtItem): string {
  if (locks.length === 0) return 'none on tables';
  return locks.map(({ table, modes }) => `${table} (${modes.join(', ')})`).join(', ');
}

function brief(statement: string): string {
  const text = statement.replaceAll(/\s+/g, ' ').trim();
  return text.length <= statementCharsMax ? text : `${text.slice(0, statementCharsMax)}…`;
}
