/**
 * What infra/observability asks Prometheus, asked of a real one that reads the running lab. Where there is no
 * `prometheus` and `promtool` on the PATH, only the names of the metrics are compared with what services export.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runningLab } from '#lab/home.ts';
import { endOf, orderBody, place, system } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ask } from '../support/service.ts';
import { placeIn2pc } from '../support/two-phase.ts';

const observability = resolve(import.meta.dirname, '../../infra/observability');
const read = (path: string): string => readFileSync(join(observability, path), 'utf8');
const services = ['gateway', 'coordinator', 'order', 'payment', 'inventory', 'logistics', 'notification'];
const hasPrometheus = ['prometheus', 'promtool'].every(
  (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0,
);
const skipped = hasPrometheus ? '' : ' (skipped: no prometheus and promtool on the PATH)';
if (!hasPrometheus)
  process.stderr.write(`SKIPPED in test/journeys/dashboard: no prometheus and promtool on the PATH\n`);

type Panel = {
  id: number;
  type: string;
  title: string;
  datasource?: { uid: string };
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string; datasource: { uid: string } }[];
};
const dashboard = JSON.parse(read('grafana/dashboards/saga-lab.json')) as { uid: string; panels: Panel[] };
const asked = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => ({ title, expr: expr.replaceAll('$__rate_interval', '1m') })),
);
/** Rules are read as text: what matters here are the names of metrics in their expressions. */
const rules = read('prometheus/rules.yml');

const metricNames = (text: string): string[] => [
  ...new Set(text.match(/\b(saga|two_phase|process|nodejs)_[a-z0-9_]+/g) ?? []),
];

beforeAll(async () => {
  const body = orderBody();
  const faults = [{ at: 'payment.charge', do: 'error', times: 1 } as const];
  const orders = [
    await place(body),
    await place({ ...body, faults }),
    await place({ ...body, customerId: 'ravi' }),
  ];
  for (const { orderId } of orders) await endOf(orderId);
  await placeIn2pc();
});
afterAll(expectInvariants);

describe('The dashboard', () => {
  test('asks for nothing that no service exports', async () => {
    const pages = await Promise.all(services.map(async (name) => (await ask(name, 'GET', '/metrics')).text));
    const exported = new Set(pages.join('\n').match(/^[a-z_0-9]+/gm));
    const wanted = [...asked.map(({ expr }) => expr), rules].flatMap(metricNames);
    expect(wanted.length).toBeGreaterThan(30);
    expect(wanted.filter((name) => !exported.has(name))).toEqual([]);
  });

  test('shows each panel in a place of its own, from the datasource that is provisioned', () => {
    const uid = /^ {4}uid: (\S+)$/m.exec(read('grafana/provisioning/datasources/prometheus.yml'))?.[1];
    expect(uid).toBe('prometheus');
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const taken = new Set<string>();
    for (const { type, title, datasource, targets = [], gridPos } of dashboard.panels) {
      expect([title, gridPos.x + gridPos.w]).toEqual([title, expect.toSatisfy((end: number) => end <= 24)]);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, taken.has(`${x} ${y}`)]).toEqual([title, false]);
          taken.add(`${x} ${y}`);
        }
      }
      if (type === 'row') continue;
      for (const one of [datasource, ...targets.map((target) => target.datasource)])
        expect(one?.uid).toBe(uid);
    }
  });
});

describe.skipIf(!hasPrometheus)(`A Prometheus${skipped}`, () => {
  test('accepts its configuration and its rules, and the rules fire when they should', () => {
    const check = (...args: string[]) =>
      execFileSync('promtool', args, { encoding: 'utf8', cwd: observability });
    expect(check('check', 'config', 'prometheus/prometheus.yml')).toContain('1 rule files found');
    expect(check('check', 'rules', 'prometheus/rules.yml')).toContain('SUCCESS');
    expect(check('test', 'rules', 'prometheus/rules.test.yml')).toContain('SUCCESS');
  });

  test('has an answer to every question of the dashboard, and to every selector of the rules', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'prometheus-'));
    const address = `127.0.0.1:${system.portBase + 49}`;
    const config = join(directory, 'prometheus.yml');
    writeFileSync(config, configurationFor(runningLab(system.home).parts));
    const args = [`--config.file=${config}`, `--storage.tsdb.path=${directory}/data`];
    const server = spawn('prometheus', [...args, `--web.listen-address=${address}`], { stdio: 'ignore' });
    try {
      const count = async (query: string): Promise<number> => {
        const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(query)}`);
        const { data } = (await response.json()) as { data: { result: unknown[] } };
        return data.result.length;
      };
      const up = async () => (await count('up{job="saga-lab"} == 1')) === services.length;
      await eventually('every service is scraped', up);
      // A rate needs two looks.
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      for (const { title, expr } of asked) {
        expect([title, expr, await count(expr)]).toEqual([title, expr, expect.toSatisfy((n) => n > 0)]);
      }
      for (const name of metricNames(rules)) {
        expect([name, await count(name)]).toEqual([name, expect.toSatisfy((n) => n > 0)]);
      }
      // With the services' own rules: nothing is wrong here, and so nothing fires but what was provoked.
      expect(await count('saga_in_doubt_oldest_seconds > 60 or saga_outbox_oldest_seconds > 30')).toBe(0);
    } finally {
      server.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    }
  });
});

/** The same, but for where the services are: a lab has ports in place of names. */
function configurationFor(parts: Record<string, { port: number }>): string {
  const targets = services.map(
    (service) => `
      - targets: ['127.0.0.1:${parts[service]?.port}']
        labels: { service: ${service} }`,
  );
  const text = read('prometheus/prometheus.yml')
    .replace(/scrape_interval: \d+s\n {2}scrape_timeout: \d+s/, 'scrape_interval: 1s\n  scrape_timeout: 1s')
    .replace('rule_files: [rules.yml]', `rule_files: ['${join(observability, 'prometheus/rules.yml')}']`)
    .replace(/ {4}dns_sd_configs:[\s\S]*$/, `    static_configs:${targets.join('')}\n`);
  expect(text).toContain('honor_labels: true\n    static_configs:');
  return text;
}
