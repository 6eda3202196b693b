/**
 * Where an event's `send` span came from, in the event's `tracestate` (W3C Trace Context §3.3, and CloudEvents'
 * distributed tracing extension): enough to make that span and its parent again, with the same ids, when the
 * process that started them died before it sent them. Only events that are traced carry it.
 */
import type { Reaction } from '#libs/step/reaction.ts';

export type Origin = {
  protocol: 'saga' | '2pc';
  /** Ids of the span that the event was decided in, and of the one above it. */
  process: string;
  parent: string;
  attempt: number;
  startedMs: number;
  /** What the step reacted to. */
  on: Reaction['on'];
};

const key = 'saga-lab';
const form = /^saga-lab=(saga|2pc);([0-9a-f]{16});([0-9a-f]{16});(\d+);(\d+);([a-z:.-]+)$/;

export const writeOrigin = ({ protocol, process, parent, attempt, startedMs, on }: Origin): string =>
  `${key}=${[protocol, process, parent, attempt, startedMs, on].join(';')}`;

export function readOrigin(tracestate: string | undefined): Origin | undefined {
  const match = tracestate === undefined ? null : form.exec(tracestate);
  if (!match) return undefined;
  const [, protocol, process = '', parent = '', attempt, startedMs, on] = match;
  return {
    protocol: protocol as Origin['protocol'],
    process,
    parent,
    attempt: Number(attempt),
    startedMs: Number(startedMs),
    on: on as Origin['on'],
  };
}
