import { fileURLToPath } from 'node:url';

/** The root of the checkout: everything below is named relative to it. */
export const repository = fileURLToPath(new URL('../../', import.meta.url));

export type ServicePart = {
  name: string;
  /** The service that this is a further replica of; the first one is called as the service itself. */
  replicaOf?: string;
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
  /** For young objects: each half of them. */
  semiSpaceMb?: number;
};

export type Topology = {
  services: readonly ServicePart[];
  /** `clients`: how many processes share it, when it is more than one. */
  databases: readonly { name: string; portOffset: number; clients?: number }[];
  /** `nodes`: of a cluster. One broker alone has no routes. */
  nats: { portOffset: number; monitorPortOffset: number; routePortOffset?: number; nodes?: number };
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
    // All that belongs to an order lives here until the order ends: with less room it is moved to the old objects, and
    // collecting those was a quarter of what the gateway did under load.
    { name: gatewayName, main: 'services/console/main.ts', semiSpaceMb: 32 },
  ],
  databases: [
    { name: 'order', portOffset: 11 },
    { name: 'payment', portOffset: 12 },
    { name: 'inventory', portOffset: 13 },
    { name: 'logistics', portOffset: 14 },
    { name: 'notification', portOffset: 15 },
    { name: 'coordinator', portOffset: 16 },
  ],
  nats: { portOffset: 20, monitorPortOffset: 21, routePortOffset: 22 },
};

/** Each further replica of a service, and each further node of the broker, has its ports so much higher. */
export const replicaPortStep = 60;
/** Of further gateways: the first one's port is the public one, and lies elsewhere. */
const gatewayPortOffset = 7;

/** Of two nodes both are needed for a majority: that is less than one. */
export const natsNodesAllowed = [1, 3, 5] as const;
export const replicasMax = 8;

/** The same lab with so many replicas of every service, and so many nodes of the broker. */
export function scaled(topology: Topology, replicas: number, natsNodes: number): Topology {
  const more = Array.from({ length: replicas - 1 }, (_, index) => index + 2);
  return {
    ...topology,
    services: topology.services.flatMap((service) => [
      service,
      ...more.map((number) => ({
        ...service,
        name: replicaName(service.name, number),
        replicaOf: service.name,
        portOffset: (service.portOffset ?? gatewayPortOffset) + replicaPortStep * (number - 1),
      })),
    ]),
    databases: topology.databases.map((database) => ({ ...database, clients: replicas })),
    nats: { ...topology.nats, nodes: natsNodes },
  };
}

/** `order`, `order-2`, `order-3`, … */
const replicaName = (name: string, number: number): string => (number === 1 ? name : `${name}-${number}`);
export const serviceOf = ({ name, replicaOf }: ServicePart): string => replicaOf ?? name;

export type NatsNode = { name: string; port: number; monitorPort: number; routePort: number };

export function natsNodesOf({ nats }: Topology, portBase: number): NatsNode[] {
  const { portOffset, monitorPortOffset, routePortOffset = 0, nodes = 1 } = nats;
  return Array.from({ length: nodes }, (_, index) => {
    const base = portBase + replicaPortStep * index;
    const ports = { monitorPort: base + monitorPortOffset, routePort: base + routePortOffset };
    return { name: replicaName(natsPart, index + 1), port: base + portOffset, ...ports };
  });
}

/** Parts are named after what they hold: the server of the database `order` is the part `order-db`. */
export const databasePart = (database: string): string => `${database}-db`;
export const natsPart = 'nats';
export const jaegerPart = 'jaeger';
export const linksPart = 'links';
