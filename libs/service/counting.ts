/** What a service counts of every batch. On the hot path: one increment per kind, not per order. */
import { pointOf } from '#libs/step/strike.ts';
import type { Verdict } from '#libs/step/transact.ts';
import type { ServiceDefinition } from './definition.ts';
import type { Metrics } from './metrics.ts';

const uuidTimeChars = 12;

export function createCounting(metrics: Metrics, { orderFates = {} }: Pick<ServiceDefinition, 'orderFates'>) {
  /** By what became of them, under either protocol. */
  function countSteps(verdicts: readonly Verdict[]): void {
    const kinds = new Map<string, Verdict[]>();
    for (const verdict of verdicts) {
      const kind = `${pointOf(verdict.intent)} ${becameOf(verdict)}`;
      const same = kinds.get(kind);
      if (same) same.push(verdict);
      else kinds.set(kind, [verdict]);
    }
    for (const same of kinds.values()) {
      const [first] = same;
      if (!first) continue;
      metrics.steps.inc({ step: pointOf(first.intent), outcome: becameOf(first) }, same.length);
    }
  }

  return {
    countSteps,

    /** A batch of the saga. */
    onBatch(verdicts: readonly Verdict[], seconds: number): void {
      metrics.batchSize.observe(verdicts.length);
      metrics.lockHold.inc({ protocol: 'saga' }, seconds * verdicts.length);
      countSteps(verdicts);
      const monotonicMs = performance.now();
      const wallMs = Date.now();
      for (const verdict of verdicts) {
        const { intent } = verdict;
        const point = pointOf(intent);
        if (intent.takenAtMs !== undefined) {
          metrics.stepSeconds.observe(point, (monotonicMs - intent.takenAtMs) / 1_000);
        }
        const fate = orderFates[point];
        if (fate === undefined || becameOf(verdict) !== 'done') continue;
        metrics.orders.inc({ protocol: 'saga', outcome: fate });
        const placedAtMs = fate === 'placed' ? undefined : placedAtOf(intent.cause.orderId);
        if (placedAtMs !== undefined) {
          metrics.orderSeconds.observe('saga', Math.max(0, wallMs - placedAtMs) / 1_000);
        }
      }
    },
  };
}

const becameOf = ({ standing, outcome }: Verdict): string =>
  standing === 'applied' ? (outcome?.outcome ?? 'done') : standing;

/** The gateway's clock, when it took the order in: a UUIDv7 begins with it. An id from a key holds no time. */
function placedAtOf(orderId: string): number | undefined {
  if (orderId[14] !== '7') return undefined;
  return Number.parseInt(orderId.replaceAll('-', '').slice(0, uuidTimeChars), 16);
}
