/**
 * One running lab whose orders outlive the ack wait of a few crashes, with a link before every database and broker, and
 * with clocks that can be set in some of its services.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { labTopology, repository } from '#lab/topology.ts';
import { launchSystem } from './system.ts';

const orderDeadlineMs = 120_000;
const clocked = ['order', 'payment', 'coordinator'];

declare module 'vitest' {
  interface ProvidedContext {
    /** The directory of the files that say how far off each clock is, in milliseconds. */
    clocks: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const clocks = mkdtempSync(join(tmpdir(), 'saga-clocks-'));
  project.provide('clocks', clocks);
  const services = labTopology.services.map((service) => {
    if (!clocked.includes(service.name)) return service;
    const NODE_OPTIONS = `--import=${join(repository, 'test/support/shifted-date.ts')}`;
    return { ...service, env: { ...service.env, NODE_OPTIONS, SHIFTED_DATE: join(clocks, service.name) } };
  });
  const env = { ORDER_DEADLINE_MS: String(orderDeadlineMs) };
  const { close } = await launchSystem(project, { proxies: true, env, parts: { ...labTopology, services } });
  return async () => {
    await close();
    rmSync(clocks, { recursive: true, force: true });
  };
}
