import { startCoordinator } from './start.ts';

await startCoordinator();
