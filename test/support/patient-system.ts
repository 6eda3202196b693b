/** One running lab whose orders outlive the ack wait of a few crashes. */
import type { TestProject } from 'vitest/node';
import { launchSystem } from './system.ts';

const orderDeadlineMs = 120_000;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { close } = await launchSystem(project, { env: { ORDER_DEADLINE_MS: String(orderDeadlineMs) } });
  return close;
}
