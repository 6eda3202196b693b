/** Parts of the lab that are killed and stay down until the test has seen enough. */
import { inject } from 'vitest';

export async function askLauncher(act: 'hold' | 'start' | 'ready', part = ''): Promise<void> {
  const answer = await fetch(`${inject('launcherUrl')}/${act}/${part}`);
  if (!answer.ok) throw new Error(`${act} ${part}: ${await answer.text()}`);
}

/** SIGKILL, and nobody starts it again; `start` resolves when it is ready. Also started when a test fails. */
export async function heldDown(part: string): Promise<AsyncDisposable & { start(): Promise<void> }> {
  await askLauncher('hold', part);
  let isDown = true;
  const start = async () => {
    if (!isDown) return;
    isDown = false;
    await askLauncher('start', part);
  };
  return { start, [Symbol.asyncDispose]: start };
}
