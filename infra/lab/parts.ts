import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeAdminToken } from './admin-token.ts';
import { type Addresses, serviceEnvironment } from './environment.ts';
import { tracing } from './jaeger.ts';
import type { LinkPlan } from './links/link.ts';
import { type Links, linksServer } from './links/part.ts';
import { planLinks, through } from './links/plan.ts';
import { type BrokerKeeper, isOk, keep, natsServers, provision } from './nats.ts';
import { type Broker, findBroker } from './nats-binary.ts';
import { assertPortsFree, type PortUse } from './ports.ts';
import { type DatabaseServer, databaseServer } from './postgres.ts';
import { createMissing, linkLibraries, postgresBinary } from './postgres-install.ts';
import { type Passwords, passwordsOf } from './postgres-roles.ts';
import type { PartSpec } from './supervisor.ts';
import {
  databasePart,
  gatewayName,
  labTopology,
  natsNodesOf,
  natsPart,
  repository,
  type ServicePart,
  serviceOf,
  type Topology,
} from './topology.ts';
import { dyingWithLauncher, postgresUser } from './user.ts';

export type PartsOptions = {
  home: string;
  gatewayPort: number;
  portBase: number;
  env: Record<string, string>;
  topology: Topology;
  jaeger: 'find' | 'off';
  /** Puts a link between each process and each server that it talks to. */
  proxies: boolean;
  /** The directory of the sockets at which the launcher, and the links, take commands. */
  sockets: string;
  say: (line: string) => void;
  signal?: AbortSignal | undefined;
};

/** Everything that is to be started, prepared so that starting is only spawning. */
export type Parts = {
  specs: readonly PartSpec[];
  url: string;
  /** Of every gateway, the public one first. */
  urls: readonly string[];
  databases: Record<string, { url: string; auditUrl: string }>;
  nats: { url: string; monitorUrl: string };
  jaegerUrl: string | null;
  links: Links | undefined;
  /** Where the launcher takes commands. */
  control: string;
  /** What a part needs once it is ready, before others may use it. */
  ensure: (part: string) => Promise<void>;
  /** Makes again what disappears from the broker while the lab runs. */
  keep: () => Promise<BrokerKeeper>;
};

const host = '127.0.0.1';
const adminName = 'admin';
/** As in infra/nats/users.ts, which the launcher does not load: it brings the contracts with it. */
const brokerUserNames = [...labTopology.services.map(({ name }) => name), adminName];

export async function buildParts(options: PartsOptions): Promise<Parts> {
  const { home, topology, portBase, gatewayPort, say } = options;
  const search = { ...process.env, ...options.env };
  const isBrokerExternal = search.NATS_URL !== undefined && search.NATS_URL !== '';
  const plans = options.proxies ? planLinks(topology, portBase, !isBrokerExternal) : [];
  await assertPortsFree([...portsOf(options, isBrokerExternal), ...portsOfLinks(plans)]);
  const databaseNames = topology.databases.map(({ name }) => name);
  const passwords = passwordsOf(join(home, 'passwords.json'), databaseNames, brokerUserNames);
  const [broker, servers, traces] = await Promise.all([
    findBroker({ env: search, say, signal: options.signal, isCluster: isCluster(topology) }),
    timed(say, 'databases prepared', () => prepareDatabases(options, passwords)),
    tracing({ ...options, search: { env: search, say, signal: options.signal } }),
  ]);
  const natsUrlOf = natsUrls(broker, portBase, topology, passwords);
  const nats = { url: natsUrlOf(adminName), monitorUrl: natsMonitorUrl(broker, search, portBase, topology) };
  // Somebody's own broker runs already, and nothing below can start without its streams.
  if (broker.kind === 'external') await provision(broker.url, 1);
  const databases = Object.fromEntries(
    topology.databases.map(({ name }, index) => {
      const { url, auditUrl } = servers[index] as DatabaseServer;
      return [name, { url, auditUrl }];
    }),
  );
  const portOf = (service: ServicePart) =>
    service.portOffset === undefined ? gatewayPort : portBase + service.portOffset;
  const adminToken = makeAdminToken(home);
  const { jaegerUrl } = traces;
  const control = join(options.sockets, 'control.sock');
  const links = plans.length > 0 ? linksServer(plans, join(options.sockets, 'links.sock')) : undefined;
  const addresses = {
    ...{ host, gatewayPort, portOf, databases, nats, natsUrlOf, jaegerUrl, adminToken, control },
    through: (client: string, url: string) => through(plans, client, url),
  };
  const shared = { ...traces.env, ...options.env };
  const specs = topology.services.map((service) => serviceSpec(service, topology, addresses, shared));
  for (const { spec } of servers) specs.push(spec);
  if (links) specs.push(links.spec);
  if (traces.spec) specs.push(traces.spec);
  const nodes = natsNodesOf(topology, portBase);
  if (broker.kind === 'binary') {
    specs.push(
      ...(await natsServers({
        home,
        binary: broker.path,
        nodes,
        passwords: passwords.broker,
        isLinked: links !== undefined,
      })),
    );
  }
  return {
    specs,
    url: `http://${host}:${gatewayPort}`,
    urls: topology.services
      .filter((service) => serviceOf(service) === gatewayName)
      .map((gateway) => `http://${host}:${portOf(gateway)}`),
    databases,
    nats,
    jaegerUrl,
    links,
    control,
    ensure: async (part) => {
      if (part === natsPart) return provision(nats.url, nodes.length);
      return servers.find(({ spec }) => spec.name === part)?.ensure();
    },
    keep: () => keep(nats.url, broker.kind === 'binary' ? nodes.length : 1, say),
  };
}

/** Node's default lets the garbage of starting alone take 150 MB per service: 1.5 GB for the lab instead of 0.8. */
const semiSpaceMbDefault = 8;

function serviceSpec(
  service: ServicePart,
  topology: Topology,
  addresses: Addresses,
  shared: Record<string, string>,
): PartSpec {
  // SIGKILL, because a service that hangs or is paused must go as well, and every service survives a crash.
  const tie = dyingWithLauncher('SIGKILL');
  const register =
    topology.register === undefined ? [] : ['--import', resolve(repository, topology.register)];
  const node = [
    process.execPath,
    `--max-semi-space-size=${service.semiSpaceMb ?? semiSpaceMbDefault}`,
    ...register,
    resolve(repository, service.main),
  ];
  const [command = process.execPath, ...args] = [...tie, ...node];
  const port = addresses.portOf(service);
  return {
    name: service.name,
    kind: 'service',
    port,
    command,
    args,
    env: serviceEnvironment(service, topology.services, addresses, shared),
    cwd: repository,
    stopSignal: 'SIGTERM',
    isReady: () => isOk(`http://${host}:${port}/readyz`),
  };
}

async function prepareDatabases(
  { home, topology, portBase }: PartsOptions,
  passwords: Passwords,
): Promise<DatabaseServer[]> {
  if (topology.databases.length === 0) return [];
  linkLibraries();
  const directory = join(home, 'postgres');
  mkdirSync(directory, { recursive: true });
  const names = topology.databases.map(({ name }) => name);
  const user = postgresUser(directory, postgresBinary('postgres'));
  await createMissing(directory, names, user, passwords.superuser);
  return topology.databases.map(({ name, portOffset, clients }) =>
    databaseServer(directory, user, name, portBase + portOffset, passwords, clients),
  );
}

/** Every user of our broker has its own address; somebody's own broker has one for all. */
function natsUrls(
  broker: Broker,
  portBase: number,
  topology: Topology,
  { broker: passwords }: Passwords,
): (user: string) => string {
  if (broker.kind === 'external') return () => broker.url;
  const servers = natsNodesOf(topology, portBase).map(({ port }) => `${host}:${port}`);
  // User and password stand on the first one, and hold for all.
  return (user) => `nats://${user}:${passwords[user] ?? ''}@${servers.join(',')}`;
}

/** Without a monitoring address the services cannot see how the broker syncs: by convention it is on 8222. */
function natsMonitorUrl(
  broker: Broker,
  env: Record<string, string | undefined>,
  portBase: number,
  topology: Topology,
): string {
  if (broker.kind === 'binary') {
    return natsNodesOf(topology, portBase)
      .map(({ monitorPort }) => `http://${host}:${monitorPort}`)
      .join(',');
  }
  const { hostname } = new URL(broker.url.includes('://') ? broker.url : `nats://${broker.url}`);
  return env.NATS_MONITOR_URL ?? `http://${hostname}:8222`;
}

function portsOf({ topology, portBase, gatewayPort }: PartsOptions, isBrokerExternal: boolean): PortUse[] {
  const based = (part: string, offset: number): PortUse => {
    return { part, port: portBase + offset, option: '--port-base' };
  };
  const uses = topology.services.map(({ name, portOffset }): PortUse => {
    return portOffset === undefined
      ? { part: name, port: gatewayPort, option: '--port' }
      : based(name, portOffset);
  });
  for (const { name, portOffset } of topology.databases) uses.push(based(databasePart(name), portOffset));
  if (isBrokerExternal) return uses;
  const nodes = natsNodesOf(topology, portBase).flatMap(({ name, port, monitorPort, routePort }) => [
    { part: name, port },
    { part: `${name}-monitor`, port: monitorPort },
    ...(isCluster(topology) ? [{ part: `${name}-routes`, port: routePort }] : []),
  ]);
  return [...uses, ...nodes.map((use): PortUse => ({ ...use, option: '--port-base' }))];
}

const portsOfLinks = (plans: readonly LinkPlan[]): PortUse[] =>
  plans.map(({ client, server, port }) => ({
    part: `the link from ${client} to ${server}`,
    port,
    option: '--port-base',
  }));

const isCluster = ({ nats }: Topology): boolean => (nats.nodes ?? 1) > 1;

async function timed<T>(say: (line: string) => void, what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = Date.now();
  const result = await work();
  say(`${what} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
  return result;
}
