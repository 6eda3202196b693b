/**
 * One transaction for a whole batch of causes, whatever its size: claim the journal entries, lock, decide
 * and write the steps, record what they decided, append the events. Neither COMMIT nor publish is here, so
 * both endings (saga driver, 2PC participant) can stand on it.
 */
import { type EventType, parseData, type SagaEvent, type ServiceName } from '#libs/contracts/events.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import type { BatchTrace } from '#libs/telemetry/batch-trace.ts';
import {
  type Claims,
  claim,
  claimNew,
  correct,
  type Entry,
  keyOf,
  recallForward,
  recallLamports,
} from './journal.ts';
import { append, type OutboxMessage, packMessages } from './outbox.ts';
import type { Cause, Reaction } from './reaction.ts';
import { type Outcome, refused, type Undo } from './step.ts';

export type Intent = {
  reaction: Reaction;
  cause: Cause;
  attempt: number;
  /** When it was taken in, by `performance.now()`: for the time that a step takes, its waiting included. */
  takenAtMs?: number;
  /** An injected refusal: the step is not asked. */
  refusal?: string;
  /** An injected error: the step throws, and with it the whole batch. */
  sabotage?: Error;
};

/** `applied`: the step ran. `empty`: an undo with nothing to undo. `repeat`: in the journal before; no effect. */
export type Verdict = {
  intent: Intent;
  standing: 'applied' | 'empty' | 'repeat';
  outcome: Outcome<unknown> | null;
  event: SagaEvent | null;
};

/** Clock and ids are injected, so that a simulation can replay them. */
export type Tools = {
  service: ServiceName;
  now(): Date;
  newId(): string;
  traceFor: BatchTrace['traceFor'];
};

type Work = Verdict & { entry: Entry; lamportMin: number };

/** Each order may occur once in a batch: the steps decide from what was locked at the start. */
export async function transact(
  tx: Tx,
  intents: readonly Intent[],
  tools: Tools,
  claims: Claims = 'looked-up',
): Promise<{ verdicts: Verdict[]; messages: OutboxMessage[] }> {
  const now = tools.now();
  const works = intents.map((intent) => claimOf(intent, tools));
  for (const { sabotage } of intents) if (sabotage) throw sabotage;
  // One flight: the locks do not need to know which claims hold. They are taken after the claims all the
  // same, because a connection runs its statements in order. Both are over before either failure is told.
  const claiming = claimAll(tx, works, now, claims);
  const locking = lockAll(tx, works);
  await Promise.allSettled([claiming, locking]);
  await claiming;
  const groups = await locking;
  const fresh = works.filter((work) => work.standing !== 'repeat');
  await runSteps(tx, groups, now);
  await readClocks(tx, fresh);

  const time = now.toISOString();
  const corrections = fresh.filter((work) => settle(work, tools, time)).map((work) => work.entry);
  const said = fresh.flatMap(({ event }) => (event ? [event] : []));
  const messages = packMessages(said, tools.newId, now);
  if (corrections.length > 0) tx.write(correct(tx, corrections));
  if (messages.length > 0) tx.write(append(tx, messages));
  return { verdicts: works, messages };
}

/** Claims the entries as the common case would leave them: done, with its event. The rest is corrected. */
async function claimAll(tx: Tx, works: readonly Work[], at: Date, claims: Claims): Promise<void> {
  const entries = works.map(({ entry }) => entry);
  const undos = works.filter(({ entry }) => entry.direction === 'undo');
  // Awaited at the end only: a batch whose steps read nothing is one flight, with its COMMIT.
  if (claims === 'presumed' && undos.length === 0) return tx.write(claimNew(tx, entries, at));

  const claimed = await claim(tx, [...entries, ...undos.map(({ entry }) => barOf(entry))], at);
  const toRecall = undos.filter((work) => !claimed.has(keyOf(barOf(work.entry))));
  const forward =
    toRecall.length > 0
      ? await recallForward(
          tx,
          toRecall.map(({ entry }) => entry),
        )
      : new Map<string, { outcome: string; lamport: number }>();

  for (const work of works) {
    if (!claimed.has(keyOf(work.entry))) {
      work.standing = 'repeat';
      work.outcome = null;
    } else if (work.entry.direction === 'undo') {
      const before = forward.get(keyOf({ ...work.entry, direction: 'do' }));
      work.standing = before?.outcome === 'done' ? 'applied' : 'empty';
      work.lamportMin = before?.lamport ?? 0;
    }
  }
}

function claimOf(intent: Intent, tools: Tools): Work {
  const { reaction, cause, attempt } = intent;
  const entry: Entry = {
    orderId: cause.orderId,
    step: reaction.step.name,
    direction: reaction.direction,
    outcome: 'done',
    reason: null,
    eventId: reaction.done ? tools.newId() : null,
    eventType: reaction.done?.say ?? null,
    lamport: cause.lamport + 1,
    causationId: cause.id,
    attempt,
  };
  const outcome = intent.refusal === undefined ? null : refused(intent.refusal);
  return { intent, standing: 'applied', outcome, event: null, entry, lamportMin: 0 };
}

/** The forward entry that an undo inserts first: if the step has not run, it never will. */
function barOf(undo: Entry): Entry {
  return { ...undo, direction: 'do', outcome: 'barred', eventId: null, eventType: null };
}

type Lock = Reaction['step']['lock'];
type LockedGroup = { works: readonly Work[]; locked: unknown };

/**
 * Steps that share a lock (the order's) are locked in one call. Groups come in the order of the lock
 * functions' names, so that every transaction meets different locks in the same order too.
 */
async function lockAll(tx: Tx, works: readonly Work[]): Promise<LockedGroup[]> {
  const asked = works.filter(({ intent }) => intent.refusal === undefined);
  const byLock = [...Map.groupBy(asked, ({ intent }): Lock => intent.reaction.step.lock)];
  byLock.sort(([a], [b]) => (a.name < b.name ? -1 : 1));
  const groups: LockedGroup[] = [];
  for (const [lock, group] of byLock) {
    const [forward, undos] = byDirection(group);
    groups.push({ works: group, locked: await lock(tx, forward.map(commandOf), undos.map(undoOf)) });
  }
  return groups;
}

async function runSteps(tx: Tx, groups: readonly LockedGroup[], at: Date): Promise<void> {
  for (const { works, locked } of groups) {
    const [forward, undos] = byDirection(works.filter((work) => work.standing === 'applied'));
    for (const [step, same] of Map.groupBy(forward, ({ intent }) => intent.reaction.step)) {
      record(same, await step.perform(tx, same.map(commandOf), locked, at));
    }
    for (const [step, same] of Map.groupBy(undos, ({ intent }) => intent.reaction.step)) {
      if (!step.undo) throw new Error(`${step.name} has no undo, but a reaction asks for it`);
      record(same, await step.undo(tx, same.map(undoOf), locked, at));
    }
  }
}

function byDirection(works: readonly Work[]): [forward: Work[], undos: Work[]] {
  const forward = works.filter(({ entry }) => entry.direction === 'do');
  return [forward, works.filter(({ entry }) => entry.direction === 'undo')];
}

const commandOf = ({ intent }: Work) => intent.reaction.command(intent.cause);
const undoOf = (work: Work): Undo => ({ reason: '', ...commandOf(work) });

function record(works: readonly Work[], outcomes: readonly Outcome<unknown>[]): void {
  if (outcomes.length !== works.length) {
    throw new Error(`a step was given ${works.length} commands and returned ${outcomes.length} outcomes`);
  }
  works.forEach((work, index) => {
    work.outcome = outcomes[index] ?? null;
  });
}

/** Read after the locks are held: what another transaction said about these orders is known by now. */
async function readClocks(tx: Tx, works: readonly Work[]): Promise<void> {
  const requests = works.filter(({ intent }) => intent.reaction.afterAllKnown);
  if (requests.length === 0) return;
  const earlier = requests.map(({ entry }) => entry.orderId);
  const known = await recallLamports(
    tx,
    earlier,
    requests.map(({ entry }) => entry.causationId),
  );
  for (const work of requests) work.lamportMin = known.get(work.entry.orderId) ?? 0;
}

/** Fills in the entry and the event. Says whether the entry differs from what was claimed. */
function settle(work: Work, tools: Tools, time: string): boolean {
  const { intent, entry, outcome } = work;
  const { reaction, cause } = intent;
  const lamport = 1 + Math.max(cause.lamport, work.lamportMin);
  const reason = outcome?.outcome === 'refused' ? outcome.reason : null;
  const emission = reason === null ? reaction.done : reaction.refused;
  const asClaimed = reason === null && work.standing === 'applied' && lamport === entry.lamport;
  entry.lamport = lamport;
  if (!asClaimed) {
    entry.outcome = work.standing === 'empty' ? 'empty' : reason === null ? 'done' : 'refused';
    entry.reason = reason;
    entry.eventId = emission ? (entry.eventId ?? tools.newId()) : null;
    entry.eventType = emission?.say ?? null;
  }
  if (emission && entry.eventId) {
    const result = outcome?.outcome === 'done' ? outcome.result : undefined;
    const data = emission.data({ cause, result, reason: reason ?? '' });
    work.event = eventOf(intent, emission.say, entry.eventId, lamport, data, tools, time);
  }
  return !asClaimed;
}

function eventOf(
  intent: Intent,
  type: EventType,
  id: string,
  lamport: number,
  data: object,
  tools: Tools,
  time: string,
): SagaEvent {
  const { cause } = intent;
  return {
    specversion: '1.0',
    id,
    source: tools.service,
    type,
    subject: cause.orderId,
    time,
    // Parsed on the way out too: a producer that drifts fails here, not in every consumer.
    data: parseData(type, data),
    ...tools.traceFor(intent, type),
    causationid: cause.id,
    lamport,
    customerid: cause.customerId,
    dishids: cause.dishIds,
    ...(cause.faults ? { faults: cause.faults } : {}),
  } as SagaEvent;
}
