/** One running lab of two replicas of everything and three brokers. */
import type { TestProject } from 'vitest/node';
import { launchSystem } from './system.ts';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  return (await launchSystem(project, { replicas: 2, natsNodes: 3 })).close;
}
