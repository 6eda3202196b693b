/** Parts that are killed and stay down until the test has seen enough. */
import { labControl } from '#lab/control/client.ts';
import { system } from './api.ts';

/** SIGKILL, and nobody starts it again; `start` resolves when it is ready. Also started when a test fails. */
export async function heldDown(part: string): Promise<AsyncDisposable & { start(): Promise<void> }> {
  const control = labControl(system.home);
  await control.act(part, 'kill', { hold: true });
  let isDown = true;
  const start = async () => {
    if (!isDown) return;
    isDown = false;
    await control.act(part, 'start');
  };
  return { start, [Symbol.asyncDispose]: start };
}
