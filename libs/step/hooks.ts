/**
 * Where crash faults will fire: the driver reaches these points and asks. Undefined when faults are off, so
 * that reaching a point costs nothing.
 */
import type { Intent } from './transact.ts';

export type DriverPoint = 'before-commit' | 'after-commit-before-publish' | 'after-publish-before-ack';

export type Reach = ((point: DriverPoint, intents: readonly Intent[]) => Promise<void>) | undefined;
