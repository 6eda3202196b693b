import type { Arguments, Io, Options } from '../command.ts';
import { LabError } from '../errors.ts';
import { isAbandoned, reapLeftovers, runningLab } from '../home.ts';
import { signalProcess, waitGone } from '../process.ts';

export const summary = 'Stops the lab that runs in this home, with all its parts.';
export const options = {} as const satisfies Options;

const stopWithinMs = 30_000;
const killWithinMs = 5_000;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const startedMs = Date.now();
  // A launcher that was killed can leave a paused process behind, which no signal of the kernel reached.
  const leftovers = isAbandoned(io.home) ? await reapLeftovers(io.home) : [];
  if (leftovers.length > 0) {
    io.out(
      values.json
        ? JSON.stringify({ stopped: true, leftovers })
        : `ended what a killed lab left: ${leftovers}`,
    );
    return 0;
  }
  const { launcher, home } = runningLab(io.home);
  signalProcess(launcher, 'SIGTERM');
  if (!(await waitGone(launcher, stopWithinMs))) {
    signalProcess(launcher, 'SIGKILL');
    await waitGone(launcher, killWithinMs);
    const ended = await reapLeftovers(home);
    throw new LabError(
      'part-not-ready',
      `The launcher did not stop in time and was killed (ended: ${ended})`,
    );
  }
  const tookMs = Date.now() - startedMs;
  io.out(
    values.json
      ? JSON.stringify({ stopped: true, home, tookMs })
      : `stopped (${(tookMs / 1000).toFixed(1)} s)`,
  );
  return 0;
}
