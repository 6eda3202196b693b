/** One running lab for all journeys: launched once, its addresses handed to the tests. */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type Lab, type LabOptions, launchLab } from '#lab/launch.ts';
import { answers } from '#lab/ports.ts';

/** Short, so that tests can wait for it; long enough for every order that nobody holds up. */
const orderDeadlineMs = 6_000;

export type SystemAddress = {
  url: string;
  /** Of every gateway. */
  urls: readonly string[];
  home: string;
  /** Where the launcher says what it does, restarts included. */
  launcherLog: string;
  databases: Record<string, { url: string; auditUrl: string }>;
  nats: { url: string; monitorUrl: string };
  portBase: number;
};

declare module 'vitest' {
  interface ProvidedContext {
    system: SystemAddress;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  return (await launchSystem(project)).close;
}

/** A lab for one project of tests, told to them as `system`. */
export async function launchSystem(
  project: TestProject,
  over: Pick<LabOptions, 'replicas' | 'natsNodes' | 'proxies' | 'env' | 'parts'> = {},
): Promise<{ lab: Lab; close(): Promise<void> }> {
  const home = mkdtempSync(join(tmpdir(), 'saga-system-'));
  const launcherLog = join(home, 'launcher.log');
  const portBase = await freePortBase();
  const lab = await launchLab({
    home,
    portBase,
    gatewayPort: portBase,
    env: { ORDER_DEADLINE_MS: String(orderDeadlineMs) },
    ...over,
    say: (line) => appendFileSync(launcherLog, `${line}\n`),
  });
  const { url, urls, databases, nats } = lab;
  project.provide('system', { url, urls, home, launcherLog, databases, nats, portBase });

  const close = async () => {
    await lab.close();
    if (project.vitest.state.getCountOfFailedTests() === 0) rmSync(home, { recursive: true, force: true });
    else process.stderr.write(`\nThe lab of the failed tests (data, logs) is kept in ${home}\n`);
  };
  return { lab, close };
}

/** A third replica, or node of the broker, has its ports 120 above the first. */
const portsPerLab = 150;
const portBaseMin = 23_000;
const portBaseMax = 26_000;

/** Below the ports that the kernel hands out, and away from the lab's defaults. */
async function freePortBase(): Promise<number> {
  for (let base = portBaseMin; base < portBaseMax; base += portsPerLab) {
    const ports = Array.from({ length: portsPerLab }, (_, offset) => base + offset);
    const taken = await Promise.all(ports.map(answers));
    if (!taken.includes(true)) return base;
  }
  throw new Error(`no free range of ${portsPerLab} ports between ${portBaseMin} and ${portBaseMax}`);
}
