/** Faults from outside: what can be done to a process of the lab, and to a connection between two of them. */
import { z } from 'zod';
import { text } from './orders.ts';

/** `kill` is SIGKILL, and the launcher starts it again; `stop` is in good order, and it stays down until `start`. */
export const partActs = ['kill', 'pause', 'resume', 'restart', 'stop', 'start'] as const;
export type PartAct = (typeof partActs)[number];

export const partKinds = ['database', 'nats', 'links', 'service', 'jaeger'] as const;

export const part = z.object({
  name: z.string(),
  kind: z.enum(partKinds),
  state: z.enum(['ready', 'not ready', 'paused', 'down']),
  /** Down because somebody asked for it, or given up: it stays so until it is started. */
  held: z.boolean(),
  port: z.int(),
  pid: z.int().nullable(),
});
export type Part = z.output<typeof part>;

export const partParams = z.object({ name: text(60) });
export const partActParams = partParams.extend({ act: z.enum(partActs) });

/** `hold`: leaves a part that is killed down until it is started. */
export const partActBody = z.strictObject({ hold: z.boolean().default(false) });

const delayMs = z.int().min(0).max(60_000);

/**
 * `cut` holds back what is sent, in both directions or one, as TCP does while packets get lost: what is healed in
 * time arrives late and whole. `up` is from the client to the server. `reset` is no state: it ends the connections
 * that stand, and the mode stays what it was.
 */
export const linkMode = z.discriminatedUnion('mode', [
  z.strictObject({ mode: z.enum(['pass', 'cut', 'cut-up', 'cut-down', 'reset']) }),
  /** In each direction; the jitter is added to it, from 0 to so much, drawn by the seed. */
  z.strictObject({
    mode: z.literal('latency'),
    ms: delayMs,
    jitterMs: delayMs.default(0),
    seed: z.int().min(0).default(1),
  }),
  /** In each direction of each connection. */
  z.strictObject({ mode: z.literal('slow'), bytesPerSecond: z.int().min(1).max(1_000_000_000) }),
  /** Everything comes in pieces of so many bytes, one after another without a pause. */
  z.strictObject({ mode: z.literal('slice'), bytes: z.int().min(1).max(65_536) }),
  /**
   * Answers are lost from the moment that a request with this text (in any case of letters) has passed, on the
   * connections of the first `times` such requests. Then the client hears nothing more, or (`reset`) of a broken
   * connection, once the server has answered.
   */
  z.strictObject({
    mode: z.literal('drop-answers'),
    after: z.string().min(1).max(200),
    times: z.int().min(1).max(1_000_000).default(1),
    end: z.enum(['silence', 'reset']).default('silence'),
  }),
]);
export type LinkMode = z.output<typeof linkMode>;

/** One process's way to one server. */
export const link = z.object({
  client: z.string(),
  server: z.string(),
  mode: linkMode,
  /** What the mode has bitten since it was set: pieces held back, delayed or lost, connections that had to wait. */
  hits: z.int(),
  /** Ended by `reset` since the links were started. */
  resets: z.int(),
  connections: z.int(),
  /** Let through since the links were started, from the client and to it. */
  bytesUp: z.int(),
  bytesDown: z.int(),
});
export type Link = z.output<typeof link>;

/** A part's name, or `all`. */
export const linkParams = z.object({ client: text(60), server: text(60) });

/** What `heal` has ended. */
export type Healed = { resumed: string[]; started: string[]; links: string[] };
