import type { ServiceDefinition } from '#libs/service/definition.ts';
import { participation, reactions } from './reactions.ts';
import { routes } from './routes.ts';
import { seed } from './seed.ts';

export const inventory: ServiceDefinition = {
  name: 'inventory',
  reactions,
  participation,
  migrations: `${import.meta.dirname}/migrations`,
  seed,
  routes,
};
