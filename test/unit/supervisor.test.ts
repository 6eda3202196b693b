/** One part has one process, whoever asks for its end and its beginning, and when. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { descendants } from '#lab/process-table.ts';
import { Supervisor } from '#lab/supervisor.ts';

const home = mkdtempSync(join(tmpdir(), 'saga-supervisor-'));
for (const directory of ['logs', 'run']) mkdirSync(join(home, directory));
afterAll(() => {
  // Of a failed test.
  for (const pid of descendants(process.pid)) process.kill(pid, 'SIGKILL');
  rmSync(home, { recursive: true, force: true });
});

const runs = 25;
const slowMs = 60_000;
/** The shortest pause before a part is started again: a second life would begin by then. */
const secondLifeMs = 150;
/** By its argument, which nobody else sleeps for. */
const seconds = String(1_000_000 + process.pid);
let asked = 0;

const supervisor = new Supervisor(
  {
    ...{ name: 'sleeper', kind: 'service', port: 0, command: 'sleep', args: [seconds], cwd: '/' },
    ...{ env: { PATH: process.env.PATH ?? '' }, stopSignal: 'SIGTERM' },
    isReady: async () => {
      asked += 1;
      return true;
    },
  },
  { home, say: () => {}, onChange: () => {} },
);

const acts = {
  start: () => supervisor.start(),
  stop: () => supervisor.stop(),
  kill: () => supervisor.kill('SIGKILL', false),
  hold: () => supervisor.kill('SIGKILL', true),
  restart: () => supervisor.stop().then(() => supervisor.start()),
};
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('A part is one process after any acts at once, and none after its stop', {
  timeout: slowMs,
}, async () => {
  const act = fc.record({
    act: fc.constantFrom(...(Object.keys(acts) as (keyof typeof acts)[])),
    afterMs: fc.integer({ min: 0, max: 150 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 2, maxLength: 8 }), async (wanted) => {
      // Between two lives there is nothing to kill, and what one starts another may stop before it is ready.
      await Promise.allSettled(wanted.map(({ act: name, afterMs }) => pause(afterMs).then(acts[name])));
      await supervisor.start();
      await pause(secondLifeMs);
      expect(descendants(process.pid)).toEqual([supervisor.identity?.pid]);
      await supervisor.stop();
      expect(descendants(process.pid)).toEqual([]);
      expect(supervisor.identity).toBeUndefined();
    }),
    { numRuns: runs },
  );
  expect(asked).toBeGreaterThan(runs);
});
