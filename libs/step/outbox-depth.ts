/**
 * Whether the outbox holds as much unpublished as it may. Counted beside the work, not at every request: what comes
 * between two counts may go beyond the bound, by no more than a process takes in in that time.
 */
import type pg from 'pg';
import { repeat } from './repeat.ts';

const tickMs = 500;

export type OutboxDepth = { isFull(): boolean; stop(): Promise<void> };

/** No more is counted than is needed to know. The index holds nothing but these rows. */
const text =
  'select count(*)::int as depth from (select 1 from outbox where published_at is null limit $1) as waiting';

export function watchOutboxDepth(options: {
  pool: pg.Pool;
  messagesMax: number;
  onChange(isFull: boolean): void;
  onTrouble(error: unknown, what: string): void;
}): OutboxDepth {
  const { pool, messagesMax, onChange, onTrouble } = options;
  let isFull = false;
  const counting = repeat({
    pauseMs: tickMs,
    // A database that does not answer leaves it as it was: nothing can be added there either.
    onTrouble: (error) => onTrouble(error, 'the outbox could not be counted'),
    async work() {
      const { rows } = await pool.query<{ depth: number }>({
        name: 'outbox-depth',
        text,
        values: [messagesMax],
      });
      const wasFull = isFull;
      isFull = (rows[0]?.depth ?? 0) >= messagesMax;
      if (isFull !== wasFull) onChange(isFull);
    },
  });
  return { isFull: () => isFull, stop: counting.stop };
}
