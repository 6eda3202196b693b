/** What the gateway itself answers, beside the resources of orders.ts: stories, faults, checks, health. */
import { z } from 'zod';
import { fault } from '#libs/faults/fault.ts';
import { faultActions, listOf, timelineItem } from './orders.ts';
import { type ProblemCode, problems } from './problems.ts';
import { inDoubtItem } from './two-phase.ts';

/** `missing` names the services that could not be asked for their part. */
export const timeline = listOf(timelineItem).extend({ missing: z.array(z.string()) });

export const activeFault = fault.extend({
  /** How often it has fired, over all replicas. */
  hits: z.int().min(0),
});

const faultPoint = z.object({
  at: z.string(),
  kind: z.enum(['step', 'undo', 'saga', 'branch', 'coordinator', 'http']),
  actions: z.array(z.enum(faultActions)),
  /** What the first action shows. */
  shows: z.string(),
  /** Where it is seen. */
  look: z.string(),
});

export const faultState = listOf(activeFault).extend({
  /** Whether faults can be set at all. */
  on: z.boolean(),
  points: z.array(faultPoint),
});

/** `missing` names the participants that could not be asked. */
export const inDoubtList = listOf(inDoubtItem).extend({ missing: z.array(z.string()) });

const violation = z.object({ orderId: z.uuid().nullable(), detail: z.string() });

export const invariants = z.object({
  holds: z.boolean(),
  tookMs: z.int(),
  rules: z.array(
    z.object({
      id: z.string(),
      title: z.string(),
      holds: z.boolean(),
      checked: z.int(),
      /** The first ones; `violationCount` says how many there are. */
      violations: z.array(violation),
      violationCount: z.int(),
      /** What the rule could not look at, and why. */
      note: z.string().optional(),
    }),
  ),
});

export const liveness = z.object({ live: z.literal(true) });
export const readiness = z.object({ ready: z.boolean(), detail: z.record(z.string(), z.string()) });

/** RFC 9457. `errors` names every field that does not fit. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(problems) as [ProblemCode, ...ProblemCode[]]),
  detail: z.string().optional(),
  /** What it is about: `/api/orders/…`, readable like any other order. */
  instance: z.string().optional(),
  errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
});

export const deadLettersQuery = z.strictObject({
  cursor: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

export const invariantsQuery = z.strictObject({
  quiet: z.enum(['true', 'false']).default('false').describe('true: everything must be at its end by now'),
});

/** Of `GET /api/events`. */
export const eventsQuery = z.strictObject({
  /** Only what is said about this order. */
  orderId: z.uuid().optional(),
});
/** The id of an SSE event: the stream's sequence of its message, its place in that message, and when that was stored. */
export const eventsHeaders = z.object({
  'last-event-id': z
    .string()
    .regex(/^(\d{1,15}-\d{1,4}(-\d{1,15})?)?$/, 'expected the id of an event, such as 41-0-1795305600000')
    .optional()
    .describe(
      'goes on after that event instead of with the next one; when the stream has lost it since, with the first one that was stored later',
    ),
});

export const traceParams = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/, 'expected 32 hex digits'),
});
