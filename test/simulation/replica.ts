/**
 * One service in a simulation: its real reactions and steps, run by the driver's own parts (receive, strike, batch,
 * transact, journal, outbox) one batch at a time. A crash takes what the process had in its memory, as SIGKILL does:
 * messages it had not acknowledged come again, what it had not published is left to the relay.
 */
import { carriedFaults, InjectedError } from '#libs/faults/injector.ts';
import type { ServiceDefinition } from '#libs/service/definition.ts';
import { createBatches } from '#libs/step/batch.ts';
import { receive } from '#libs/step/delivery.ts';
import { takeDistinct } from '#libs/step/gather.ts';
import { type Claims, presumingFirst } from '#libs/step/journal.ts';
import { claimUnpublished, markPublished, type OutboxMessage, type Stored } from '#libs/step/outbox.ts';
import type { OutboxPublisher } from '#libs/step/outbox-publisher.ts';
import type { Cause } from '#libs/step/reaction.ts';
import type { Item } from '#libs/step/saga-driver.ts';
import { strikeStep } from '#libs/step/strike.ts';
import type { Verdict } from '#libs/step/transact.ts';
import { traceNothing } from '#libs/telemetry/batch-trace.ts';
import { type Bus, type Delivery, handOver } from './bus.ts';
import type { Clock } from './clock.ts';
import { rememberFailures } from './failures.ts';
import { type Mutant, tamper } from './mutant.ts';
import type { Fate } from './schedule.ts';
import type { Store } from './store.ts';
import type { Story } from './story.ts';

export type Replica = {
  deliver(deliveries: readonly Delivery[], fate: Fate): Promise<void>;
  /** In one transaction. Undefined: who asked got no answer. */
  ask(on: string, causes: readonly Cause[], attempt: number, fate: Fate): Promise<(Verdict | undefined)[]>;
  /** Gives how many it claimed. */
  relay(fate: Fate): Promise<number>;
  /** What the publisher does after a moment of quiet. */
  markStored(): Promise<void>;
};

export type ReplicaOptions = {
  definition: ServiceDefinition;
  store: Store;
  bus: Bus;
  clock: Clock;
  newId(): string;
  mutant: Mutant;
  story: Story;
  /** An attempt failed and nothing was injected. */
  onUnexpected(error: unknown, item: Item): void;
};

const batchMax = 200;
const relayRowsMax = 200;
const transactionMs = 10;

class Crash extends Error {}

export function createReplica(options: ReplicaOptions): Replica {
  const { definition, store, bus, clock, newId, mutant, story, onUnexpected } = options;
  const service = definition.name;
  const reactions = new Map(definition.reactions.map((reaction) => [reaction.on as string, reaction]));
  /** Stored by the broker and not marked yet: forgotten in a crash. */
  let stored: Stored[] = [];
  let sequence = 0;
  let fate: Fate = 'well';
  const injector = carriedFaults((point, action) => story.count(`fault:${action}`, `${action} at ${point}`));
  const tampered = tamper(mutant, bus, store);

  /** The batch does not wait for it, but the schedule's next decision does. */
  let publishing: Promise<void> | undefined;

  async function publishAll(messages: readonly OutboxMessage[]): Promise<void> {
    await tampered.beforePublish();
    for (const message of messages) {
      if (fate === 'publish-lost') {
        story.count('publish-lost', `${message.subject} is lost on its way to the broker`);
        continue;
      }
      bus.publish(message);
      sequence += 1;
      stored.push({ messageId: message.messageId, sequence, storedAt: clock.now() });
    }
  }

  const publisher: OutboxPublisher = {
    publish(messages) {
      publishing = publishAll(messages);
      return publishing;
    },
    markPublished(tx) {
      if (stored.length > 0) tx.write(markPublished(tx, stored));
      stored = [];
    },
    distrust() {
      stored = [];
    },
    losses: () => 0,
    isOurs: () => false,
    stop: async () => {},
  };

  const batches = createBatches({
    service,
    publisher,
    newId,
    now: clock.now,
    traceBatch: traceNothing,
    onBatch: () => {},
    reach: {
      aimed: (point, verdicts) => (fate === point ? verdicts.map(({ intent }) => intent) : []),
      async strike(point, aimed) {
        if (point === 'before-commit') story.undone(service, aimed);
        throw new Crash(point);
      },
    },
  });

  async function settle(items: readonly Item[]): Promise<void> {
    clock.forward(transactionMs);
    const batch = batches.begin(items);
    const run = (claims: Claims) =>
      store.commit((tx) => {
        publisher.markPublished(tx);
        return batches.decide(tampered.tx(tx), batch, claims);
      });
    const decided = await presumingFirst(run).catch((error) => error as Error);
    if (!(decided instanceof Error)) {
      story.committed(service, decided.verdicts);
      return batches.tell(batch, decided).finally(() => publishing);
    }
    if (decided instanceof Crash) throw decided;
    // As the driver: until the culprit is alone.
    const [only] = items;
    if (items.length > 1) for (const item of items) await settle([item]);
    else if (only) fail(only, decided);
  }

  function fail(item: Item, error: Error): void {
    if (!(error instanceof InjectedError)) onUnexpected(error, item);
    story.failed(service, item.intent, error);
    item.failed(error);
  }

  async function settleAll(items: readonly Item[]): Promise<void> {
    for (const { intent } of items) if (injector.armed(intent.cause)) await strikeStep(injector, intent);
    let queue = items;
    while (queue.length > 0) {
      const { batch, left } = takeDistinct(queue, batchMax, ({ intent }) => intent.cause.orderId);
      queue = left;
      await settle(batch);
    }
  }

  /** Gives whether the process lived through it. */
  async function under(wanted: Fate, work: () => Promise<void>): Promise<boolean> {
    fate = wanted;
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      stored = [];
      story.count(`crash:${error.message}`);
      story.note(service, `CRASH ${error.message.replaceAll('-', ' ')}`);
      return false;
    } finally {
      fate = 'well';
    }
  }

  const delivery = {
    reactions,
    failures: rememberFailures(),
    onDeadLetter: (reason: string) => story.count('dead-letter', `dead letter: ${reason}`),
    onStuck: () => {},
    onTrouble: () => {},
  };

  return {
    async deliver(deliveries, wanted) {
      const inHand = deliveries.map(handOver);
      const items: Item[] = [];
      const submit = (more: readonly Item[]) => void items.push(...more);
      const received = inHand.map(({ message }) => receive(message, { ...delivery, submit }));
      // What failed before is recalled first, and submitted in a later turn.
      await new Promise((resolve) => setImmediate(resolve));
      if (mutant.acksBeforeCommit) for (const one of inHand) one.isAcked = true;
      const lived = await under(wanted, () => settleAll(items));
      if (lived) await Promise.all(received);
      for (const one of inHand) if (!one.isAcked) bus.pending.push(one.delivery);
    },

    async ask(on, causes, attempt, wanted) {
      const reaction = reactions.get(on);
      if (!reaction) throw new Error(`${service} does not react to ${on}`);
      const answers: (Verdict | undefined)[] = causes.map(() => undefined);
      const items = causes.map((cause, index) => ({
        intent: { reaction, cause, attempt },
        patient: false,
        committed(verdict: Verdict) {
          answers[index] = verdict;
        },
        failed() {},
      }));
      await under(wanted, () => settleAll(items));
      return answers;
    },

    async relay(wanted) {
      let claimed = 0;
      await under(wanted, () =>
        store.commit(async (tx) => {
          clock.forward(transactionMs);
          // Without its patience: a relay that comes too early publishes twice, and that must be harmless.
          const rows = await claimUnpublished(tx, clock.now(), 0, relayRowsMax);
          claimed = rows.length;
          if (claimed === 0) return;
          for (const row of rows) bus.publish(row);
          story.relayed(service, rows);
          const storedAt = clock.now();
          const places = rows.map(({ messageId }) => ({ messageId, sequence: 0, storedAt }));
          if (fate === 'before-commit') throw new Crash('before-commit');
          tx.write(markPublished(tx, places));
        }),
      );
      return claimed;
    },

    async markStored() {
      if (stored.length > 0) await store.commit(async (tx) => publisher.markPublished(tx));
    },
  };
}
