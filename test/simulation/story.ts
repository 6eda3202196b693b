/** What happened in a run, for a person to read; and how often each kind of it did, to prove that it happens at all. */
import { parseEvent } from '#libs/contracts/events.ts';
import type { Message } from '#libs/nats/publish.ts';
import { pointOf } from '#libs/step/strike.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import type { Clock } from './clock.ts';
import { nameOf } from './ids.ts';

export type Story = ReturnType<typeof createStory>;

export function createStory(clock: Clock) {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  const note = (who: string, what: string) => {
    const at = (clock.elapsedMs() / 1_000).toFixed(2).padStart(6);
    lines.push(`${at} s  ${who.padEnd(12)}  ${what}`);
  };
  const count = (what: string, told?: string) => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
    if (told) note('', told);
  };

  return {
    lines,
    counts,
    note,
    count,
    committed(service: string, verdicts: readonly Verdict[]) {
      verdicts.forEach((verdict, index) => {
        count(`standing:${verdict.standing}`);
        if (verdict.outcome?.outcome === 'refused') count('refused');
        note(index === 0 ? service : '', `${headOf(verdict.intent)}: ${endOf(verdict)}`);
      });
      if (verdicts.length > 1) count('batch');
    },
    undone(service: string, intents: readonly Intent[]) {
      for (const intent of intents) note(service, `${headOf(intent)}: rolled back`);
    },
    failed(service: string, intent: Intent, error: Error) {
      count('failed');
      note(service, `${headOf(intent)}: attempt ${intent.attempt} fails, ${error.message}`);
    },
    relayed(service: string, rows: readonly Message[]) {
      count('relayed');
      for (const { subject, body } of rows)
        note(service, `the relay publishes ${subject} of ${ordersIn(body)}`);
    },
  };
}

const headOf = ({ reaction, cause, ...intent }: Intent): string =>
  `${reaction.on} of ${nameOf(cause.orderId)}: ${pointOf({ ...intent, reaction })}`;

function endOf({ standing, outcome, event }: Verdict): string {
  if (standing === 'repeat') return 'in the journal already, no effect';
  const says = event ? `, says ${event.type}` : '';
  if (standing === 'empty') return `nothing to undo${says}`;
  if (outcome?.outcome === 'refused') return `refused (${outcome.reason})${says}`;
  return `done${says}`;
}

/** For a line about a whole message. */
export function ordersIn(body: string): string {
  const events = (JSON.parse(body) as unknown[]).map(parseEvent);
  return events.map((one) => (one.ok ? nameOf(one.event.subject) : '?')).join(', ');
}
