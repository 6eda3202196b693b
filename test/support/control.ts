/** Kills and signals parts of the shared lab by its state file; the launcher starts them again. */
import { runningLab } from '#lab/home.ts';
import { isOk } from '#lab/nats.ts';
import { signalProcess, waitGone } from '#lab/process.ts';
import { system } from './api.ts';
import { eventually } from './eventually.ts';

const goneWithinMs = 15_000;
const backWithinMs = 40_000;

/** Sends the signal, waits until the process has gone and another stands in its place (not: until it is ready). */
export async function killPart(part: string, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
  const before = runningLab(system.home).parts[part]?.process;
  if (!before) throw new Error(`${part} is not running`);
  signalProcess(before, signal);
  if (!(await waitGone(before, goneWithinMs))) throw new Error(`${part} did not end on ${signal}`);
  await eventually(
    `${part} runs again`,
    () => {
      const now = runningLab(system.home).parts[part]?.process;
      return now && now.startedTicks !== before.startedTicks ? now : undefined;
    },
    backWithinMs,
  );
}

/** The gateway is ready when every service is, and a service when its database and the broker are. */
export async function labReady(): Promise<void> {
  await eventually('the lab is ready', () => isOk(`${system.url}/readyz`), backWithinMs);
}

export const portOf = (part: string): number => runningLab(system.home).parts[part]?.port ?? 0;
