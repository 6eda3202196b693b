/** A replica of the coordinator beside the lab's own: a real process on the same decision log. */
import { join } from 'node:path';
import { Pool } from 'undici';
import { isOk } from '#lab/nats.ts';
import { type Exit, signalProcess, spawnDetached } from '#lab/process.ts';
import { repository } from '#lab/topology.ts';
import { dyingWithLauncher } from '#lab/user.ts';
import type { FinishedAnswer, HandedOver } from '#libs/contracts/placing.ts';
import { participantNames } from '#libs/contracts/two-phase.ts';
import { createCaller } from '#libs/service/ndjson.ts';
import { currentTraceparent } from '#libs/telemetry/trace-context.ts';
import { placedInTest, system } from './api.ts';
import { portOf } from './control.ts';
import { eventually } from './eventually.ts';
import { bodyOf, keyed, type TwoPhaseRequest } from './two-phase.ts';

const portOffset = 40;
const answerMsMax = 30_000;
export const secondName = 'the second one';

export type SecondCoordinator = AsyncDisposable & {
  /** With the signal that ended it. */
  exited: Promise<Exit>;
  place(over?: TwoPhaseRequest, orderId?: string): Promise<FinishedAnswer>;
  pause(): void;
  resume(): void;
  /** SIGTERM: it is expected to end by itself. */
  end(): Promise<Exit>;
};

/** Ready when it resolves; killed when it is disposed of, paused or not. */
export async function startSecondCoordinator(env: Record<string, string> = {}): Promise<SecondCoordinator> {
  const port = system.portBase + portOffset;
  const [command = process.execPath, ...args] = [
    ...dyingWithLauncher('SIGKILL'),
    process.execPath,
    '--import',
    join(repository, 'libs/telemetry/register.ts'),
    join(repository, 'services/coordinator/main.ts'),
  ];
  const { identity, exited } = await spawnDetached({
    command,
    args,
    env: { ...environment(port), ...env },
    cwd: repository,
    logFile: join(system.home, 'logs', 'coordinator-2.log'),
    pidFile: join(system.home, 'run', 'coordinator-2.json'),
  });
  const url = `http://127.0.0.1:${port}`;
  const pool = new Pool(url, { connections: 8 });
  const place = createCaller<HandedOver, FinishedAnswer>({
    pool,
    path: '/orders',
    key: 'orders',
    answerMsMax,
  });
  const stop = async () => {
    signalProcess(identity, 'SIGKILL');
    await exited;
    await pool.destroy();
  };
  try {
    await eventually('the second coordinator is ready', () => isOk(`${url}/readyz`));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    exited,
    place(over = {}, orderId = keyed().orderId) {
      placedInTest.push(orderId);
      // Keyed as at the gateway, so that the other coordinator can be asked again.
      return place({ orderId, keyed: true, traceparent: currentTraceparent(), body: bodyOf(over) });
    },
    pause: () => signalProcess(identity, 'SIGSTOP'),
    resume: () => signalProcess(identity, 'SIGCONT'),
    end() {
      signalProcess(identity, 'SIGTERM');
      return exited;
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** As the lab's own is told it, but for the name and the port. */
function environment(port: number): Record<string, string> {
  const urls = participantNames.map((name) => [
    `${name.toUpperCase()}_URL`,
    `http://127.0.0.1:${portOf(name)}`,
  ]);
  return {
    PATH: process.env.PATH ?? '',
    NODE_ENV: 'production',
    NODE_COMPILE_CACHE: join(repository, 'node_modules', '.cache', 'saga-lab'),
    FAULTS: 'on',
    NATS_URL: system.nats.url,
    DATABASE_URL: system.databases.coordinator?.url ?? '',
    ...Object.fromEntries(urls),
    SERVICE_PORT: String(port),
    COORDINATOR_NAME: secondName,
  };
}
