import type { ServiceDefinition } from '#libs/service/definition.ts';
import { startWatchdog } from './deadline.ts';
import { participation, reactions } from './reactions.ts';
import { routes } from './routes.ts';
import { seed } from './seed.ts';

export const order: ServiceDefinition = {
  name: 'order',
  reactions,
  participation,
  orderFates: { 'order.place': 'placed', 'order.dispatch': 'dispatched', 'order.cancel': 'cancelled' },
  migrations: `${import.meta.dirname}/migrations`,
  seed,
  routes,
  background: startWatchdog,
};
