/** The commands of two-phase commit, on the lab that cli-api.test.ts has started: a lab takes seconds to start. */
import { describe, expect, test } from 'vitest';
import { runningLab } from '../../infra/lab/home.ts';
import { eventually } from './support.ts';

const scenarioMsMax = 60_000;
const testMsMax = 20_000;

type Told = { status: number; out: string; err: string };
export type CommandLine = {
  run(...args: string[]): Promise<Told>;
  // biome-ignore lint/suspicious/noExplicitAny: what a program reads from --json, each test looks at its own fields.
  json(...args: string[]): Promise<any>;
  home(): string;
};

export function testTwoPhaseCommands({ run, json, home }: CommandLine): void {
  describe('lab order --protocol 2pc', { timeout: testMsMax }, () => {
    test.each(['single', 'grouped', 'unordered'])('is answered with the finished order, %s', async (mode) => {
      expect(await json('order', '--protocol', '2pc', '--mode', mode)).toMatchObject({
        status: 'DISPATCHED',
        protocol: '2pc',
        reason: null,
      });
    });

    test('tells a refusal as the end of the story, with its reason', async () => {
      const { status, out } = await run('order', '--protocol', '2pc', '--customer', 'ravi');
      expect(status).toBe(0);
      expect(out).toMatch(/^status {2}REFUSED: nothing has happened\nreason {2}\S+/);
    });
  });

  describe('lab in-doubt', { timeout: testMsMax }, () => {
    test('shows what is prepared in each database, and an operator can force one', async () => {
      const delayed = ['--fault', 'coordinator.before-decision=delay:3000', '--customer', 'customer-0030'];
      const placed = json('order', '--protocol', '2pc', '--dish', 'dish-030', ...delayed);
      const items = await eventually('four branches are prepared', async () => {
        const found = await json('in-doubt');
        return found.items.length === 4 ? found.items : undefined;
      });
      expect(items.map(({ service }: { service: string }) => service).sort()).toEqual([
        'inventory',
        'logistics',
        'order',
        'payment',
      ]);
      const { out } = await run('in-doubt');
      for (const { gid } of items) expect(out).toContain(gid);
      expect(out).toMatch(/locks: .*wallets/);
      const { gid } = items[0];
      expect(await run('in-doubt', 'resolve', gid, '--heuristic', 'commit', '--confirm', 'no')).toMatchObject(
        {
          status: 1,
          err: expect.stringContaining('422 confirmation-differs'),
        },
      );
      const forced = await json('in-doubt', 'resolve', gid, '--heuristic', 'commit', '--confirm', gid);
      expect(forced).toEqual({ gid, decision: 'commit', by: 'operator' });
      // The coordinator, undecided until now, comes to the same: what was forced was right, as it happens.
      expect(await placed).toMatchObject({ status: 'DISPATCHED' });
      expect((await run('in-doubt')).out).toBe('nothing is in doubt\n');
    });

    test('says that there is no such branch', async () => {
      const gid = `2pc:${crypto.randomUUID()}:payment`;
      const { status, err } = await run('in-doubt', 'resolve', gid, '--heuristic', 'abort', '--confirm', gid);
      expect({ status, err }).toMatchObject({ status: 1, err: expect.stringContaining('404 not-found') });
    });
  });

  test('lab scenario in-doubt sees what it claims, and leaves the coordinator running', {
    timeout: scenarioMsMax,
  }, async () => {
    const before = runningLab(home()).parts.coordinator?.process;
    const { status, out } = await run('scenario', 'in-doubt', '--seconds', '2');
    expect({ status, unseen: out.match(/^NOT SEEN.*$/gm) }).toEqual({ status: 0, unseen: null });
    expect(out).toContain('waits');
    expect(runningLab(home()).parts.coordinator?.process).toEqual(before);
    expect((await run('status')).status).toBe(0);
  });

  test('lab scenario deadlock sees the cycle without an order of branches, and none with it', {
    timeout: scenarioMsMax,
  }, async () => {
    // Few clients: each that is caught in a cycle waits for lock timeouts of 5 s.
    const few = ['--seconds', '3', '--clients', '6'];
    const { claims, figures } = await json('scenario', 'deadlock', ...few);
    expect(claims.filter(({ seen }: { seen: boolean }) => !seen)).toEqual([]);
    expect(figures.unordered.cycles).toBeGreaterThan(0);
    expect(figures.single.cycles).toBe(0);
    expect(figures.single.load.failed).toBe(0);
  });

  test('lab bench measures both protocols beside each other', { timeout: scenarioMsMax }, async () => {
    const few = ['--clients', '4', '--seconds', '1', '--warm-up', '0', '--no-floor'];
    const { runs } = await json('bench', 'saga', '2pc', '2pc-grouped', ...few);
    expect(runs.map(({ name }: { name: string }) => name)).toEqual(['saga', '2pc', '2pc-grouped']);
    for (const { load, perOrder } of runs) {
      expect(load).toMatchObject({ cancelled: 0, failed: 0, unfinished: 0 });
      expect(load.dispatched).toBeGreaterThan(0);
      expect(perOrder['rows locked, ms']).toBeGreaterThan(0);
    }
  });
}
