/** Tells the broker tests whether they may start containers, and people what this run covers. */
import type { TestProject } from 'vitest/node';
import { brokerImages, whyNoContainers } from './infra.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Why the brokers in containers are left out, or null. */
    whyNoBrokerContainers: string | null;
  }
}

export default async function setup(project: TestProject): Promise<void> {
  const why = await whyNoContainers(brokerImages);
  const containers = why === undefined ? brokerImages.join(', ') : `none (${why})`;
  process.stderr.write(`broker: NATS from the lab's embedded server; in containers: ${containers}\n`);
  project.provide('whyNoBrokerContainers', why ?? null);
}
