import { fileURLToPath } from 'node:url';

/** The root of the checkout: everything below is named relative to it. */
export const repository = fileURLToPath(new URL('../../', import.meta.url));

export type ServicePart = {
  name: string;
  /** The file that Node runs, relative to the repository or absolute. */
  main: string;
  /** The port is `portBase + portOffset`; the gateway has none, because its port is the public one. */
  portOffset?: number;
  /** The database that the service owns. */
  database?: string;
  /** The services that it is told the address of. The gateway knows all, and the coordinator is known to all. */
  tells?: readonly string[];
  /** Environment that only this service gets. */
  env?: Record<string, string>;
};

export type Topology = {
  services: readonly ServicePart[];
  databases: readonly { name: string; portOffset: number }[];
  nats: { portOffset: number; monitorPortOffset: number };
  /** Loaded before every service with `--import`; absent when a service needs none. */
  register?: string;
};

/** All default ports lie below 32768: from there on the kernel hands them out to outgoing connections. */
export const defaultPorts = { gateway: 8080, base: 26000 } as const;

/** The service that is reachable from outside; it has no database and knows the address of every other one. */
export const gatewayName = 'gateway';

/** Runs two-phase commit: it tells the participants, and every other service may ask it what was decided. */
export const coordinatorName = 'coordinator';

/** The whole lab as data. The order of the rows is the order in which status prints them. */
export const labTopology: Topology = {
  register: 'libs/telemetry/register.ts',
  services: [
    { name: 'order', main: 'services/order/main.ts', portOffset: 1, database: 'order' },
    { name: 'payment', main: 'services/payment/main.ts', portOffset: 2, database: 'payment' },
    { name: 'inventory', main: 'services/inventory/main.ts', portOffset: 3, database: 'inventory' },
    { name: 'logistics', main: 'services/logistics/main.ts', portOffset: 4, database: 'logistics' },
    { name: 'notification', main: 'services/notification/main.ts', portOffset: 5, database: 'notification' },
    {
      name: 'coordinator',
      main: 'services/coordinator/main.ts',
      portOffset: 6,
      database: 'coordinator',
      tells: ['order', 'payment', 'inventory', 'logistics'],
    },
    { name: gatewayName, main: 'services/console/main.ts' },
  ],
  databases: [
    { name: 'order', portOffset: 11 },
    { name: 'payment', portOffset: 12 },
    { name: 'inventory', portOffset: 13 },
    { name: 'logistics', portOffset: 14 },
    { name: 'notification', portOffset: 15 },
    { name: 'coordinator', portOffset: 16 },
  ],
  nats: { portOffset: 20, monitorPortOffset: 21 },
};

/** Parts are named after what they hold: the server of the database `order` is the part `order-db`. */
export const databasePart = (database: string): string => `${database}-db`;
export const natsPart = 'nats';
export const jaegerPart = 'jaeger';
