/** The generated documents: what each holds, and whether a directory has them as they should be. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncApi } from './asyncapi.ts';
import { choreography } from './choreography.ts';
import { faultPointsPage } from './fault-points.ts';
import { openApi } from './openapi.ts';
import { problemsPage } from './problems.ts';

const json = (document: unknown): string => `${JSON.stringify(document, null, 2)}\n`;

const documents: readonly { name: string; make: () => string }[] = [
  { name: 'choreography.md', make: choreography },
  { name: 'problems.md', make: problemsPage },
  { name: 'fault-points.md', make: faultPointsPage },
  { name: 'openapi.json', make: () => json(openApi()) },
  { name: 'asyncapi.json', make: () => json(asyncApi()) },
];

/** The paths of those that are missing or differ. */
export function staleDocuments(directory: string): string[] {
  return documents
    .filter(({ name, make }) => read(join(directory, name)) !== make())
    .map(({ name }) => join(directory, name));
}

/** Writes what is stale; the paths of what was written. */
export function writeDocuments(directory: string): string[] {
  mkdirSync(directory, { recursive: true });
  const stale = staleDocuments(directory);
  for (const { name, make } of documents) {
    const file = join(directory, name);
    if (stale.includes(file)) writeFileSync(file, make());
  }
  return stale;
}

const read = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8') : undefined;
