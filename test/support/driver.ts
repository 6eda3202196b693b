/** A saga driver over a world, with a publish function of the test's own in place of the broker. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { noFaults } from '#libs/faults/injector.ts';
import type { Message } from '#libs/nats/publish.ts';
import { createOutboxPublisher } from '#libs/step/outbox-publisher.ts';
import { createSagaDriver, type Item, type SagaDriver } from '#libs/step/saga-driver.ts';
import type { Intent, Verdict } from '#libs/step/transact.ts';
import { traceNothing } from '#libs/telemetry/batch-trace.ts';
import type { World } from './world.ts';

export type DrivenWorld = {
  driver: SagaDriver;
  /** Sizes of the batches that were committed. */
  batches: number[];
  published: Message[];
  /** What was reported on the way: retries, outages, messages left to the relay. */
  troubles: string[];
  submit(intents: readonly Intent[], patient?: boolean): Promise<End>[];
};

export type End = { verdict: Verdict | undefined; finished: boolean; error?: unknown };

export function drive(
  { definition }: World,
  pool: pg.Pool,
  publish: (message: Message) => Promise<void> = async () => {},
): DrivenWorld {
  const batches: number[] = [];
  const published: Message[] = [];
  const troubles: string[] = [];
  const onTrouble = (_error: unknown, what: string) => troubles.push(what);
  const now = () => new Date();
  const publisher = createOutboxPublisher({
    pool,
    now,
    onTrouble,
    async publish(message) {
      await publish(message);
      return published.push(message);
    },
  });
  const driver = createSagaDriver({
    service: definition.name,
    pool,
    publisher,
    injector: noFaults,
    reach: undefined,
    traceBatch: traceNothing,
    now,
    newId: randomUUID,
    onTrouble,
    onBatch: (verdicts) => batches.push(verdicts.length),
  });
  const itemOf = (intent: Intent, patient: boolean, end: (end: End) => void): Item => {
    let verdict: Verdict | undefined;
    return {
      intent,
      patient,
      committed(found) {
        verdict = found;
      },
      finished: () => end({ verdict, finished: true }),
      failed: (error) => end({ verdict, finished: false, error }),
    };
  };
  return {
    driver,
    batches,
    published,
    troubles,
    submit(intents, patient = true) {
      const items: Item[] = [];
      const ends = intents.map(
        (intent) => new Promise<End>((resolve) => items.push(itemOf(intent, patient, resolve))),
      );
      driver.submit(items);
      return ends;
    },
  };
}
