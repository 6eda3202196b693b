/** One running lab of two replicas of everything and three brokers, and a door through which tests hold a part down. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import { launchSystem } from './system.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Of the process that launched the lab: the tests run in another one. */
    launcherUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { lab, close } = await launchSystem(project, { replicas: 2, natsNodes: 3 });
  const acts: Record<string, (part: string) => Promise<void>> = {
    hold: (part) => lab.kill(part, 'SIGKILL', { hold: true }),
    start: (part) => lab.start(part),
    ready: () => lab.ready(),
  };
  const door = createServer(async (request, response) => {
    const [, act = '', part = ''] = (request.url ?? '').split('/');
    try {
      await acts[act]?.(part);
      response.end();
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
  project.provide('launcherUrl', `http://127.0.0.1:${(door.address() as AddressInfo).port}`);
  return async () => {
    door.closeAllConnections();
    await new Promise((resolve) => door.close(resolve));
    await close();
  };
}
