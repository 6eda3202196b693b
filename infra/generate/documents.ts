/** The generated files: what each holds, and whether a directory has them as they should be. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncApi } from './asyncapi.ts';
import { brokerUsersPage, usersConf } from './broker-users.ts';
import { choreography } from './choreography.ts';
import { consumersJson } from './consumers.ts';
import { faultMatrixPage } from './fault-matrix.ts';
import { faultsPage } from './faults.ts';
import { openApi } from './openapi.ts';
import { problemsPage } from './problems.ts';
import { prometheusRule } from './prometheus-rule.ts';

const json = (document: unknown): string => `${JSON.stringify(document, null, 2)}\n`;

type Made = { name: string; make: () => string };

export const documents: readonly Made[] = [
  { name: 'choreography.md', make: choreography },
  { name: 'problems.md', make: problemsPage },
  { name: 'faults.md', make: faultsPage },
  { name: 'fault-matrix.md', make: faultMatrixPage },
  { name: 'broker-users.md', make: brokerUsersPage },
  { name: 'openapi.json', make: () => json(openApi()) },
  { name: 'asyncapi.json', make: () => json(asyncApi()) },
];

/** What the broker is configured and provisioned with. */
export const brokerFiles: readonly Made[] = [
  { name: 'users.conf', make: () => usersConf(false) },
  { name: 'users-faults.conf', make: () => usersConf(true) },
  { name: 'consumers.json', make: consumersJson },
];

export const monitoringFiles: readonly Made[] = [{ name: 'alerts.yaml', make: prometheusRule }];

/** The paths of those that are missing or differ. */
export function staleDocuments(directory: string, made = documents): string[] {
  return made
    .filter(({ name, make }) => read(join(directory, name)) !== make())
    .map(({ name }) => join(directory, name));
}

/** Writes what is stale; the paths of what was written. */
export function writeDocuments(directory: string, made = documents): string[] {
  mkdirSync(directory, { recursive: true });
  const stale = staleDocuments(directory, made);
  for (const { name, make } of made) {
    const file = join(directory, name);
    if (stale.includes(file)) writeFileSync(file, make());
  }
  return stale;
}

const read = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8') : undefined;
