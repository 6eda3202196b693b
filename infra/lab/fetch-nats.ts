import { LabError } from './errors.ts';
import { findBroker } from './nats-binary.ts';

/** Run by prepare.mjs, so that the wait for the broker is part of the preparation and not of the first start. */
try {
  const broker = await findBroker({ env: process.env, say: (line) => console.error(`preparing: ${line}`) });
  if (broker.kind === 'binary') console.error(`preparing: NATS ${broker.version} is there (${broker.from})`);
} catch (error) {
  if (!(error instanceof LabError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
