/** One server for all step tests, or for the simulation; each test file makes databases of its own in it. */
import type { TestProject } from 'vitest/node';
import { chooseInfra, type Infra, postgresImage, sayChoice } from './infra.ts';
import { startPostgres } from './postgres-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    adminUrl: string;
    /** For tests that start a server of their own. */
    infra: Infra;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const choice = await chooseInfra([postgresImage]);
  sayChoice(project.name, 'PostgreSQL', choice);
  const server = await startPostgres(choice.infra);
  project.provide('adminUrl', server.adminUrl);
  project.provide('infra', choice.infra);
  return () => server.remove();
}
