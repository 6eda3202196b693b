import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { runStorm, type StormOptions } from '#lab/storm/storm.ts';

const home = mkdtempSync(join(tmpdir(), 'saga-storm-'));
const said: string[] = [];
const options: StormOptions = {
  seed: 3,
  lengthMs: 30_000,
  protocol: 'both',
  ordersPerSecond: 10,
  replicas: 1,
  natsNodes: 1,
  home,
  gatewayPort: 29_500,
  portBase: 29_501,
  say: (line) => said.push(line),
};

test('F35: A storm is weathered, and most of what it does bites', async () => {
  const { weathered, acts, fired, orders, verdict } = await runStorm(options);
  expect(verdict.violations, said.join('\n')).toEqual([]);
  expect(weathered).toBe(true);
  expect(acts).toBeGreaterThan(4);
  expect(fired, said.join('\n')).toBeGreaterThan(acts / 2);
  expect(orders.length).toBeGreaterThan(50);
  expect(verdict.ends.dispatched).toBeGreaterThan(orders.length / 4);
  expect(existsSync(home), 'nothing is left of it').toBe(false);
});

test('One that takes a paisa is not weathered, and leaves everything behind', async () => {
  const result = await runStorm({
    ...options,
    lengthMs: 12_000,
    quietWithinMs: 3_000,
    async sabotage({ databases }) {
      const client = new pg.Client({ connectionString: databases.payment?.url });
      await client.connect();
      await client.query(`update wallets set balance = balance - 1 where customer_id = 'asha'`);
      await client.end();
    },
  });
  expect(result.weathered).toBe(false);
  expect(result.verdict.violations.join('\n')).toContain('I1: ');
  expect(result.evidence).toBe(home);
  for (const kept of ['postgres', 'nats', 'logs', 'acts.txt', 'orders.ndjson', 'timelines.txt']) {
    expect(existsSync(join(home, kept)), kept).toBe(true);
  }
  expect(readFileSync(join(home, 'violations.txt'), 'utf8')).toMatch(/^seed 3\nI1: /);
  rmSync(home, { recursive: true });
});
