/** What a service counts of every batch. On the hot path: one increment per kind, not per order. */
import { pointOf } from '#libs/step/strike.ts';
import type { Verdict } from '#libs/step/transact.ts';
import type { ServiceDefinition } from './definition.ts';
import type { Metrics } from './metrics.ts';

export function createCounting(metrics: Metrics, { orderFates = {} }: Pick<ServiceDefinition, 'orderFates'>) {
  /** By what became of them, under either protocol. */
  function countSteps(verdicts: readonly Verdict[]): void {
    for (const { point, became, same } of kindsOf(verdicts)) {
      metrics.steps.inc({ step: point, outcome: became }, same.length);
    }
  }

  function countOrders(fate: string, same: readonly Verdict[], atMs: number): void {
    metrics.orders.inc({ protocol: 'saga', outcome: fate }, same.length);
    if (fate === 'placed') return;
    for (const { intent } of same) {
      const placedAtMs = placedAtOf(intent.cause.orderId);
      if (placedAtMs !== undefined) {
        metrics.orderSeconds.observe('saga', Math.max(0, atMs - placedAtMs) / 1_000);
      }
    }
  }

  return {
    countSteps,

    /** A batch of the saga. */
    onBatch(verdicts: readonly Verdict[], seconds: number): void {
      metrics.batchSize.observe(verdicts.length);
      metrics.lockHold.inc({ protocol: 'saga' }, seconds * verdicts.length);
      const monotonicMs = performance.now();
      for (const { point, became, same } of kindsOf(verdicts)) {
        metrics.steps.inc({ step: point, outcome: became }, same.length);
        for (const { intent } of same) {
          if (intent.takenAtMs === undefined) continue;
          metrics.stepSeconds.observe(point, (monotonicMs - intent.takenAtMs) / 1_000);
        }
        const fate = orderFates[point];
        if (fate !== undefined && became === 'done') countOrders(fate, same, Date.now());
      }
    },
  };
}

type Kind = { point: string; became: string; same: Verdict[] };

/** A batch has few kinds, so they are looked for one by one. */
function kindsOf(verdicts: readonly Verdict[]): Kind[] {
  const kinds: Kind[] = [];
  for (const verdict of verdicts) {
    const point = pointOf(verdict.intent);
    const became = becameOf(verdict);
    const kind = kinds.find((one) => one.point === point && one.became === became);
    if (kind) kind.same.push(verdict);
    else kinds.push({ point, became, same: [verdict] });
  }
  return kinds;
}

const becameOf = ({ standing, outcome }: Verdict): string =>
  standing === 'applied' ? (outcome?.outcome ?? 'done') : standing;

/** The gateway's clock, when it took the order in: a UUIDv7 begins with it. An id from a key holds no time. */
function placedAtOf(orderId: string): number | undefined {
  if (orderId[14] !== '7') return undefined;
  return Number.parseInt(orderId.slice(0, 8) + orderId.slice(9, 13), 16);
}
