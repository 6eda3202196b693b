/** The injector of a process: the watched bucket where faults are on, nothing at all where they are off. */
import type { NatsConnection } from '@nats-io/transport-node';
import { openFaultBucket } from './bucket.ts';
import { createInjector, type Injector, noFaults } from './injector.ts';
import type { FaultAction } from './points.ts';

export async function createInjectorFor(
  connection: NatsConnection,
  on: boolean,
  onFired: (point: string, action: FaultAction) => void,
): Promise<Injector> {
  return on ? createInjector(await openFaultBucket(connection), onFired) : noFaults;
}
