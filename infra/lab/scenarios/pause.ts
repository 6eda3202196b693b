/** Stopping a process of the lab as a debugger would, and never leaving it stopped. */
import { LabError } from '../errors.ts';
import { runningLab } from '../home.ts';
import { signalProcess } from '../process.ts';
import { isAlive } from '../process-table.ts';

export type Pause = { pids: number[]; resume(): void };

/** SIGSTOP to every replica of a service; pid and start time are compared, so that no stranger is ever stopped. */
export function pauseService(home: string, service: string): Pause {
  const replicas = Object.entries(runningLab(home).parts).filter(
    ([name]) => name.replace(/-\d+$/, '') === service,
  );
  const identities = replicas.flatMap(([, part]) => part.process ?? []).filter(isAlive);
  if (identities.length === 0) throw new LabError('part-not-ready', `${service} is not running`);
  let isPaused = true;
  const resume = () => {
    if (isPaused) for (const identity of identities) signalProcess(identity, 'SIGCONT');
    isPaused = false;
    for (const signal of interruptions) process.off(signal, interrupted);
  };
  // Ctrl-C ends this process without any finally: the part must go on all the same.
  const interrupted = (signal: NodeJS.Signals) => {
    resume();
    process.kill(process.pid, signal);
  };
  for (const signal of interruptions) process.on(signal, interrupted);
  for (const identity of identities) signalProcess(identity, 'SIGSTOP');
  return { pids: identities.map(({ pid }) => pid), resume };
}

const interruptions = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
