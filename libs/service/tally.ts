/**
 * A Prometheus histogram for hot paths. prom-client's own hashes the labels at every observation; this one counts
 * in an array per label value and makes the page's numbers when they are asked for.
 */
import type { Metric, Registry } from 'prom-client';

export type Tally = { observe(labelValue: string, value: number): void };

export type TallyOptions = {
  name: string;
  help: string;
  label: string;
  /** Upper bounds, ascending. */
  buckets: readonly number[];
};

type Row = { counts: Float64Array; sum: number };

export function createTally(registry: Registry, { name, help, label, buckets }: TallyOptions): Tally {
  const rows = new Map<string, Row>();

  /** The text format's histogram: buckets count what is at most their bound, so they add up. */
  const valuesOf = ([labelValue, { counts, sum }]: [string, Row]) => {
    let count = 0;
    const labels = { [label]: labelValue };
    const line = (suffix: string, value: number, le?: number | '+Inf') => {
      return {
        metricName: `${name}_${suffix}`,
        value,
        labels: le === undefined ? labels : { le, ...labels },
      };
    };
    const lines = [...buckets, '+Inf' as const].map((bound, index) => {
      count += counts[index] ?? 0;
      return line('bucket', count, bound);
    });
    return [...lines, line('sum', sum), line('count', count)];
  };

  const get = async () => ({ name, help, type: 'histogram', values: [...rows].flatMap(valuesOf) });
  // The registry asks a metric for its name and its numbers, whatever else its type promises.
  registry.registerMetric({ name, get } as unknown as Metric);

  return {
    observe(labelValue, value) {
      let row = rows.get(labelValue);
      if (!row) {
        row = { counts: new Float64Array(buckets.length + 1), sum: 0 };
        rows.set(labelValue, row);
      }
      let index = 0;
      while (index < buckets.length && value > (buckets[index] as number)) index += 1;
      row.counts[index] = (row.counts[index] as number) + 1;
      row.sum += value;
    },
  };
}
