/** Time of a simulation: it moves when the schedule says so, and for the checker's SQL too. */
import { statement } from '#libs/postgres/statement.ts';

const startsAt = Date.UTC(2026, 0, 1);

export type Clock = {
  now(): Date;
  /** Since the run began. */
  elapsedMs(): number;
  forward(ms: number): void;
};

export function createClock(): Clock {
  let elapsed = 0;
  return {
    now: () => new Date(startsAt + elapsed),
    elapsedMs: () => elapsed,
    forward(ms) {
      elapsed += ms;
    },
  };
}

const setting = 'simulation.now';

/**
 * A `now()` that is found before PostgreSQL's own one, so that the checker asks with its own queries how old a
 * message is. The steps never ask: a time is passed to them.
 */
export const simulatedNow = (database: string): string[] => [
  'create schema simulation',
  `create function simulation.now() returns timestamptz stable language sql
     as $$ select current_setting('${setting}')::timestamptz $$`,
  `alter database ${database} set search_path = simulation, public, pg_catalog`,
];

/** Up to the end of the run. */
export const setNow = statement(`select set_config('${setting}', $1::text, true)`);
