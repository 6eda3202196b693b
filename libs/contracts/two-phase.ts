/**
 * Between the coordinator and the participants of two-phase commit, and what people see of it. The words are
 * those of the X/Open DTP model and of Gray & Reuter: branch, prepare, vote, decision, in doubt, heuristic.
 */
import { z } from 'zod';
import type { ServiceName } from './events.ts';
import { items, orderFaultsCharsMax, paise } from './orders.ts';

/** The services that take part, each with one branch of the transaction in its own database. */
export const participantNames = [
  'order',
  'payment',
  'inventory',
  'logistics',
] as const satisfies ServiceName[];
export type ParticipantName = (typeof participantNames)[number];

/**
 * The global transaction id in every participant's database: made from a validated UUID, never from a
 * header, and different for each participant, because gids are unique per server and not per database.
 */
export const gidOf = (transactionId: string, participant: string): string =>
  `2pc:${transactionId}:${participant}`;

const gidPattern = /^2pc:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([a-z]+)$/;

/** Undefined for a gid that is not ours: somebody else's prepared transaction is left alone. */
export function readGid(gid: string): { transactionId: string; participant: string } | undefined {
  const match = gidPattern.exec(gid);
  return match?.[1] && match[2] ? { transactionId: match[1], participant: match[2] } : undefined;
}

const uuidTimeChars = 12;

/** When a transaction began, in milliseconds: it stands in its id (UUIDv7, RFC 9562 §5.7). */
export const beganAtOf = (transactionId: string): number =>
  Number.parseInt(transactionId.replaceAll('-', '').slice(0, uuidTimeChars), 16);

const traceparent = z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/);
const transactionId = z.uuid();
const reason = z.string().max(200);

export const branchOrdersMax = 100;

/** A branch waits at most so long for each of its locks. The coordinator's patience hangs on it. */
export const branchLockMsMax = 5_000;

/** One order as every participant is told it: parsed, priced and stamped by the coordinator. */
const branchOrder = z.strictObject({
  orderId: z.uuid(),
  /** The cause that the journal entries name; new for every order and attempt. */
  commandId: z.uuid(),
  attempt: z.int().min(1),
  traceparent,
  customerId: z.string().max(60),
  city: z.string().max(60),
  items,
  total: paise,
  faults: z.string().max(orderFaultsCharsMax).optional(),
  bodyHash: z.string().nullable(),
  createdAt: z.iso.datetime(),
});
export type BranchOrder = z.output<typeof branchOrder>;

/**
 * `perform` runs the steps of a branch and leaves its transaction open; `prepare` undoes in it what another
 * participant refused, and prepares what stands. With `thenPrepare` both happen in one round trip, unless the
 * participant itself refuses: then it rolls back and votes no.
 */
const performCommand = z.strictObject({
  transactionId,
  orders: z.array(branchOrder).min(1).max(branchOrdersMax),
  thenPrepare: z.boolean(),
});
export type PerformCommand = z.output<typeof performCommand>;

const prepareCommand = z.strictObject({
  transactionId,
  undo: z.array(z.strictObject({ orderId: z.uuid(), reason })).max(branchOrdersMax),
});
export type PrepareCommand = z.output<typeof prepareCommand>;

const endCommand = z.strictObject({ transactionId });
export type EndCommand = z.output<typeof endCommand>;

const many = <T extends z.ZodType>(command: T) =>
  z.strictObject({ commands: z.array(command).min(1).max(200) });
export const performBody = many(performCommand);
export const prepareBody = many(prepareCommand);
export const endBody = many(endCommand);

/**
 * The answer to one command; a line of NDJSON, so that a branch that waits for a lock holds up no other.
 * `refusals` name the orders that this participant refused. `retry` says that a vote is no for a reason that
 * has nothing to do with the business (a lock that was not to be had, an injected error): trying again may help.
 */
export type PerformAnswer = {
  transactionId: string;
  refusals: { orderId: string; reason: string }[];
  /** Only after `thenPrepare`, or when the branch failed. */
  vote?: 'yes' | 'no';
  failure?: string;
  retry?: boolean;
  /** When the closing steps ran: the order's `endedAt`. */
  at: string;
};
export type PrepareAnswer = {
  transactionId: string;
  vote: 'yes' | 'no';
  failure?: string;
  retry?: boolean;
  at: string;
};
/** The reason of a participant that has this order already, from another transaction or from the saga. */
export const placedBefore = 'this order was placed before';

/** `ended`: as asked, now or before. `contradicts`: it had ended the other way (by an operator). */
export type EndAnswer = {
  transactionId: string;
  state: 'ended' | 'contradicts' | 'failed';
  failure?: string;
};

export const decisions = ['commit', 'abort'] as const;
export type Decision = (typeof decisions)[number];

/** The answer to a participant that is in doubt. */
export const inquiryAnswer = z.object({ transactionId, decision: z.enum(decisions) });

export const transactionsAskedMax = 200;

/** Which of these a participant has committed, and of all others the newest that began before that one. */
export const committedQuestion = z.strictObject({
  of: z.array(transactionId).max(transactionsAskedMax),
  beganBefore: transactionId,
});
export type CommittedQuestion = z.output<typeof committedQuestion>;

export const committedAnswer = z.object({
  items: z.array(
    z.object({
      transactionId,
      orderIds: z.array(z.uuid()),
      /** By an operator: it proves no decision. */
      forced: z.boolean(),
    }),
  ),
});
export type CommittedBranch = z.output<typeof committedAnswer>['items'][number];

/** What stands prepared in one database, waits for its decision, and keeps its rows locked. */
export const inDoubtItem = z.object({
  gid: z.string(),
  transactionId,
  /** Whose database it stands in. */
  service: z.enum(participantNames),
  /** Empty when neither participant nor coordinator can say any more. */
  orderIds: z.array(z.uuid()),
  preparedAt: z.iso.datetime(),
  ageMs: z.int().min(0),
  /** Lock modes by table; row locks stand on the rows themselves, where PostgreSQL does not list them. */
  locks: z.array(z.object({ table: z.string(), modes: z.array(z.string()) })),
  /** Sessions that cannot go on before it ends, directly or behind another that waits. */
  waiting: z.array(
    z.object({
      pid: z.int(),
      /** `2pc:<transaction id>` for a branch, otherwise the name that the session gave itself. */
      who: z.string(),
      waitingMs: z.int().min(0),
      /** Gids and pids, directly before it. */
      behind: z.array(z.string()),
      statement: z.string(),
    }),
  ),
});
export type InDoubtItem = z.output<typeof inDoubtItem>;

export const gidParams = z.object({ gid: z.string().max(200) });
export const resolveBody = z
  .strictObject({
    /** Forces the branch, whatever the decision log says or will say. */
    heuristic: z.enum(decisions).optional(),
    /** The gid once more, typed: only with `heuristic`. */
    confirm: z.string().optional(),
  })
  .default({});

export const resolution = z.object({
  gid: z.string(),
  decision: z.enum(decisions),
  by: z.enum(['coordinator', 'operator']),
});
export type Resolution = z.output<typeof resolution>;
