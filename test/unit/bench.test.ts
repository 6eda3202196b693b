import { describe, expect, test } from 'vitest';
import { lockHoldIn } from '#lab/bench/lock-hold.ts';
import { type Run, reportText } from '#lab/bench/report.ts';

const run = (name: string, ordersPerSecond: number, lockedMs: number | null): Run => ({
  name,
  load: {
    orders: 100,
    ordersPerSecond,
    dispatched: 100,
    cancelled: 0,
    unfinished: 0,
    failed: 0,
    latencyMs: { p50: 10, p95: 20, p99: 30 },
  },
  perOrder: { 'rows locked, ms': lockedMs },
  standing: { memoryMb: { services: 700.4 }, connections: 42 },
  faults: 'on, 0 set',
  tracing: true,
  accepted: null,
  ratioToFloor: null,
});
const report = (...runs: Run[]) =>
  reportText({
    ...{ clients: 8, seconds: 1, refusals: 0, hot: false, replicas: 1, natsNodes: 1 },
    ...{ runs, floor: null, floorPerOrder: null },
  });

describe('The report of a benchmark', () => {
  test('sets what was measured side by side, as multiples of the first', () => {
    const text = report(run('saga', 1_000, 2.5), run('2pc', 250, 10));
    expect(text).toMatch(/^ +saga +2pc +2pc \/ saga$/m);
    expect(text).toMatch(/^orders\/s +1000 +250 +0\.25 ×$/m);
    expect(text).toMatch(/^rows locked, ms per order +2\.500 +10 +4\.00 ×$/m);
  });

  test('compares nothing when there is one, and says what is not known', () => {
    const text = report(run('saga', 1_000, null));
    expect(text).not.toContain('×');
    expect(text).toMatch(/rows locked, ms per order +not known here/);
    expect(text).toMatch(/faults +on, 0 set/);
    expect(text).toMatch(/tracing +on;/);
  });
});

test('The time that rows were locked is summed for one protocol, and null where nobody counts it', () => {
  const text = [
    '# HELP saga_lock_hold_seconds_total Time',
    '# TYPE saga_lock_hold_seconds_total counter',
    'saga_lock_hold_seconds_total{protocol="saga",service="payment"} 1.5',
    'saga_lock_hold_seconds_total{protocol="2pc",service="payment"} 2.5e-1',
  ].join('\n');
  expect(lockHoldIn(text, '2pc')).toBe(0.25);
  expect(lockHoldIn(text, 'saga')).toBe(1.5);
  expect(lockHoldIn('# TYPE other counter\nother 1', 'saga')).toBeNull();
});
