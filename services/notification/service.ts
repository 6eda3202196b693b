import type { ServiceDefinition } from '#libs/service/definition.ts';
import { reactions } from './reactions.ts';
import { routes } from './routes.ts';
import { seed } from './seed.ts';

export const notification: ServiceDefinition = {
  name: 'notification',
  reactions,
  migrations: `${import.meta.dirname}/migrations`,
  seed,
  routes,
  // Nobody's order waits for a notification, so it may be told with the next ones.
  pauseMs: 100,
};
