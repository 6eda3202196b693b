/** A Jaeger for the tests that read traces from one: from the PATH, the cache, its release, or built with Go. */
import type { TestProject } from 'vitest/node';
import { findJaeger } from '#lab/jaeger-binary.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Its version, or null. */
    jaeger: string | null;
  }
}

export default async function setup(project: TestProject): Promise<void> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const found = await findJaeger({ env: process.env, say, build: true });
  project.provide('jaeger', found?.version ?? null);
  if (found) say(`Jaeger: version ${found.version} (${found.from})`);
  else
    say('SKIPPED test/traces: no Jaeger 2 was found, downloaded or built; test/lab reads the same traces.');
}
