/** One running lab whose orders outlive the ack wait of a few crashes, with a link before every database and broker. */
import type { TestProject } from 'vitest/node';
import { launchSystem } from './system.ts';

const orderDeadlineMs = 120_000;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const env = { ORDER_DEADLINE_MS: String(orderDeadlineMs) };
  const { close } = await launchSystem(project, { proxies: true, env });
  return close;
}
