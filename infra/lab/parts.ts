import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeAdminToken } from './admin-token.ts';
import { type Addresses, serviceEnvironment } from './environment.ts';
import { tracing } from './jaeger.ts';
import { isOk, natsServer } from './nats.ts';
import { type Broker, findBroker } from './nats-binary.ts';
import { assertPortsFree, type PortUse } from './ports.ts';
import { type DatabaseServer, databaseServer } from './postgres.ts';
import { createMissing, linkLibraries, postgresBinary } from './postgres-install.ts';
import { passwordsOf } from './postgres-roles.ts';
import type { PartSpec } from './supervisor.ts';
import { databasePart, natsPart, repository, type ServicePart, type Topology } from './topology.ts';
import { dyingWithLauncher, postgresUser } from './user.ts';

export type PartsOptions = {
  home: string;
  gatewayPort: number;
  portBase: number;
  env: Record<string, string>;
  topology: Topology;
  jaeger: 'find' | 'off';
  say: (line: string) => void;
  signal?: AbortSignal | undefined;
};

/** Everything that is to be started, prepared so that starting is only spawning. */
export type Parts = {
  specs: readonly PartSpec[];
  url: string;
  databases: Record<string, { url: string; auditUrl: string }>;
  nats: { url: string; monitorUrl: string };
  jaegerUrl: string | null;
  /** What a part needs once it is ready, before others may use it. */
  ensure: (part: string) => Promise<void>;
};

const host = '127.0.0.1';

export async function buildParts(options: PartsOptions): Promise<Parts> {
  const { home, topology, portBase, gatewayPort, say } = options;
  const search = { ...process.env, ...options.env };
  await assertPortsFree(portsOf(options, search.NATS_URL !== undefined && search.NATS_URL !== ''));
  const [broker, servers, traces] = await Promise.all([
    findBroker({ env: search, say, signal: options.signal }),
    timed(say, 'databases prepared', () => prepareDatabases(options)),
    tracing({ ...options, search: { env: search, say, signal: options.signal } }),
  ]);
  const nats = natsAddress(broker, search, portBase, topology);
  const databases = Object.fromEntries(
    topology.databases.map(({ name }, index) => {
      const { url, auditUrl } = servers[index] as DatabaseServer;
      return [name, { url, auditUrl }];
    }),
  );
  const portOf = (service: ServicePart) =>
    service.portOffset === undefined ? gatewayPort : portBase + service.portOffset;
  const adminToken = makeAdminToken(home);
  const addresses = { host, gatewayPort, portOf, databases, nats, jaegerUrl: traces.jaegerUrl, adminToken };
  const shared = { ...traces.env, ...options.env };
  const specs = topology.services.map((service) => serviceSpec(service, topology, addresses, shared));
  for (const { spec } of servers) specs.push(spec);
  if (traces.spec) specs.push(traces.spec);
  if (broker.kind === 'binary') {
    const { portOffset, monitorPortOffset } = topology.nats;
    specs.push(await natsServer(home, broker.path, portBase + portOffset, portBase + monitorPortOffset));
  }
  return {
    specs,
    url: `http://${host}:${gatewayPort}`,
    databases,
    nats,
    jaegerUrl: traces.jaegerUrl,
    ensure: async (part) => servers.find(({ spec }) => spec.name === part)?.ensure(),
  };
}

/** Node's default lets the garbage of starting alone take 150 MB per service: 1.5 GB for the lab instead of 0.8. */
const semiSpaceMb = 8;

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
    `--max-semi-space-size=${semiSpaceMb}`,
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

async function prepareDatabases({ home, topology, portBase }: PartsOptions): Promise<DatabaseServer[]> {
  if (topology.databases.length === 0) return [];
  linkLibraries();
  const directory = join(home, 'postgres');
  mkdirSync(directory, { recursive: true });
  const names = topology.databases.map(({ name }) => name);
  const passwords = passwordsOf(join(home, 'passwords.json'), names);
  const user = postgresUser(directory, postgresBinary('postgres'));
  await createMissing(directory, names, user, passwords.superuser);
  return topology.databases.map(({ name, portOffset }) =>
    databaseServer(directory, user, name, portBase + portOffset, passwords),
  );
}

/** Without a monitoring address the services cannot see how the broker syncs: by convention it is on 8222. */
function natsAddress(
  broker: Broker,
  env: Record<string, string | undefined>,
  portBase: number,
  { nats }: Topology,
): { url: string; monitorUrl: string } {
  if (broker.kind === 'binary') {
    return {
      url: `nats://${host}:${portBase + nats.portOffset}`,
      monitorUrl: `http://${host}:${portBase + nats.monitorPortOffset}`,
    };
  }
  const { hostname } = new URL(broker.url.includes('://') ? broker.url : `nats://${broker.url}`);
  return { url: broker.url, monitorUrl: env.NATS_MONITOR_URL ?? `http://${hostname}:8222` };
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
  const { portOffset, monitorPortOffset } = topology.nats;
  return [...uses, based(natsPart, portOffset), based('nats-monitor', monitorPortOffset)];
}

async function timed<T>(say: (line: string) => void, what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = Date.now();
  const result = await work();
  say(`${what} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
  return result;
}
