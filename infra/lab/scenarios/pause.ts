/** Stopping a process of the lab as a debugger would, and never leaving it stopped. */
import { LabError } from '../errors.ts';
import { runningLab } from '../home.ts';
import { signalProcess } from '../process.ts';
import { isAlive } from '../process-table.ts';

export type Pause = { pid: number; resume(): void };

/** SIGSTOP to a part; the pid and the start time are compared, so that no stranger is ever stopped. */
export function pausePart(home: string, name: string): Pause {
  const identity = runningLab(home).parts[name]?.process;
  if (!identity || !isAlive(identity)) throw new LabError('part-not-ready', `${name} is not running`);
  let isPaused = true;
  const resume = () => {
    if (isPaused) signalProcess(identity, 'SIGCONT');
    isPaused = false;
    for (const signal of interruptions) process.off(signal, interrupted);
  };
  // Ctrl-C ends this process without any finally: the part must go on all the same.
  const interrupted = (signal: NodeJS.Signals) => {
    resume();
    process.kill(process.pid, signal);
  };
  for (const signal of interruptions) process.on(signal, interrupted);
  signalProcess(identity, 'SIGSTOP');
  return { pid: identity.pid, resume };
}

const interruptions = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
