/** The alerts of the cluster: the same as those of the containers, about what the cluster's Prometheus sees. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  IPodMonitor,
  IPrometheusRule,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { labTopology, repository } from '#lab/topology.ts';
import { type Manifest, named, plainFiles } from './manifests.ts';

const component = plainFiles()
  .filter(({ file }) => file.startsWith('components/monitoring/'))
  .flatMap(({ manifests }) => manifests);
const alerts = (): Manifest & IPrometheusRule =>
  named<IPrometheusRule>(component, 'PrometheusRule', 'saga-lab');
const rules = () => (alerts().spec?.groups ?? []).flatMap((group) => group.rules ?? []);

describe('The alerts of the cluster', () => {
  test('are those of the containers, to the letter', () => {
    const { groups } = parse(
      readFileSync(join(repository, 'infra/observability/prometheus/rules.yml'), 'utf8'),
    );
    expect(rules().length).toBeGreaterThan(5);
    expect(alerts().spec?.groups).toEqual(groups);
  });

  test('ask for the job, and for the services, that the monitor has', () => {
    const monitor = named<IPodMonitor>(component, 'PodMonitor', 'services').spec;
    const relabelings = monitor?.podMetricsEndpoints?.flatMap((endpoint) => endpoint.relabelings ?? []) ?? [];
    const job = relabelings.find(({ targetLabel }) => targetLabel === 'job')?.replacement;
    expect(relabelings.some(({ targetLabel }) => targetLabel === 'service')).toBe(true);
    const asked = rules()
      .map(({ expr }) => String(expr))
      .join('\n');
    expect([...asked.matchAll(/job="([^"]*)"/g)].map(([, name]) => name)).toEqual([job]);
    const expected = [...asked.matchAll(/"service", "(\w+)"/g)].map(([, name]) => name);
    const deployed = labTopology.services.map(({ name }) => name).sort();
    expect(expected.sort()).toEqual(deployed);
    expect(monitor?.selector.matchExpressions?.flatMap(({ values = [] }) => values).sort()).toEqual(deployed);
  });
});
