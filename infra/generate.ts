/**
 * `npm run generate` writes every file that is made from data; with `--check` it only compares, and exits
 * with 1 when one is stale. `--docs <directory>` compares or writes the documents somewhere else.
 */
import { parseArgs } from 'node:util';
import {
  brokerFiles,
  documents,
  monitoringFiles,
  staleDocuments,
  writeDocuments,
} from './generate/documents.ts';
import { driftedServices, generateMigrations } from './generate/migrations.ts';

const { values } = parseArgs({
  options: { check: { type: 'boolean', default: false }, docs: { type: 'string', default: 'docs' } },
});
const generated = [
  { directory: values.docs, made: documents },
  { directory: 'infra/nats', made: brokerFiles },
  { directory: 'infra/kubernetes/components/monitoring', made: monitoringFiles },
];
process.exitCode = values.check ? await check() : await write();

async function check(): Promise<number> {
  const stale = [
    ...generated.flatMap(({ directory, made }) => staleDocuments(directory, made)),
    ...(await driftedServices()).map((service) => `services/${service}/migrations`),
  ];
  for (const file of stale) console.error(`${file} is stale`);
  if (stale.length > 0) console.error('Write them with: npm run generate');
  return stale.length > 0 ? 1 : 0;
}

async function write(): Promise<number> {
  const written = generated.flatMap(({ directory, made }) => writeDocuments(directory, made));
  for (const file of written) console.log(`${file} is written`);
  for (const service of await driftedServices()) {
    generateMigrations(service);
    console.log(`services/${service}/migrations has a new migration: read it before you commit it`);
  }
  // drizzle-kit says with exit code 0 that it could do nothing (a rename needs a terminal): look again.
  const drifted = await driftedServices();
  for (const service of drifted) {
    console.error(`services/${service}/migrations do not make its schema. In a terminal, run:`);
    console.error(`  SERVICE=${service} npx drizzle-kit generate`);
  }
  return drifted.length > 0 ? 1 : 0;
}
