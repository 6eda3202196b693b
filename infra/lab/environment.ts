import { join } from 'node:path';
import { coordinatorName, gatewayName, repository, type ServicePart, serviceOf } from './topology.ts';

type Environment = Record<string, string>;

/** Where the parts of this lab are, as far as services need to know. */
export type Addresses = {
  host: string;
  gatewayPort: number;
  portOf: (service: ServicePart) => number;
  databases: Record<string, { url: string; auditUrl: string }>;
  nats: { url: string; monitorUrl: string };
  /** With that user's password: no service gets another's, or admin's. */
  natsUrlOf: (user: string) => string;
  /** Puts this process's own links in place of the servers in a URL, where there are links. */
  through?: (client: string, url: string) => string;
  /** The launcher's socket: the gateway passes on what operators want of the parts. */
  control?: string;
  jaegerUrl: string | null;
  /** What an operator shows to do what only an operator may. */
  adminToken: string;
};

/** Everything else of the launcher's environment stays behind: it may hold what is nobody's business. */
const passedOn = [
  'PATH',
  'HOME',
  'TZ',
  'LANG',
  'NODE_OPTIONS',
  'FAULTS',
  'LOG_LEVEL',
  'NATS_UNSAFE',
  'ORDER_DEADLINE_MS',
  'UV_THREADPOOL_SIZE',
];

/** The environment that one service is started with: a contract with libs/service. */
export function serviceEnvironment(
  service: ServicePart,
  services: readonly ServicePart[],
  addresses: Addresses,
  shared: Environment,
): Environment {
  const database = service.database === undefined ? undefined : addresses.databases[service.database];
  const linked = (url: string): string => addresses.through?.(service.name, url) ?? url;
  return {
    NODE_ENV: 'production',
    // Services share most of their modules: compiled and stripped of types once, they start twice as fast.
    NODE_COMPILE_CACHE: join(repository, 'node_modules', '.cache', 'saga-lab'),
    LOG_LEVEL: 'info',
    LAB: 'on',
    FAULTS: 'on',
    LAB_DATA: 'on',
    ...inherited(),
    SERVICE_HOST: addresses.host,
    SERVICE_PORT: String(addresses.portOf(service)),
    NATS_URL: linked(addresses.natsUrlOf(serviceOf(service))),
    NATS_MONITOR_URL: addresses.nats.monitorUrl,
    ...(database === undefined ? {} : { DATABASE_URL: linked(database.url) }),
    ...(isOperated(service) ? { ADMIN_TOKEN: addresses.adminToken } : {}),
    ...urlsKnownTo(service, services, addresses),
    ...(serviceOf(service) === gatewayName ? gatewayEnvironment(addresses, linked) : {}),
    ...shared,
    ...service.env,
  };
}

/** The gateway asks an operator for the token, and a service before it settles a dead letter or forces a branch. */
const isOperated = (service: ServicePart): boolean => serviceOf(service) !== coordinatorName;

function inherited(): Environment {
  const entries = Object.entries(process.env).filter(
    ([name, value]) => value !== undefined && (passedOn.includes(name) || name.startsWith('OTEL_')),
  );
  return Object.fromEntries(entries) as Environment;
}

/** No service is told more addresses than it needs: one that knows none cannot become an orchestrator by habit. */
function urlsKnownTo(
  service: ServicePart,
  services: readonly ServicePart[],
  { host, portOf }: Addresses,
): Environment {
  const known = Object.entries(Object.groupBy(services, serviceOf)).filter(([name]) => {
    if (name === serviceOf(service)) return false;
    return serviceOf(service) === gatewayName || name === coordinatorName || service.tells?.includes(name);
  });
  return Object.fromEntries(
    known.map(([name, replicas = []]) => {
      const urls = replicas.map((replica) => `http://${host}:${portOf(replica)}`);
      return [`${name.toUpperCase()}_URL`, urls.join(',')];
    }),
  );
}

function gatewayEnvironment(
  { databases, jaegerUrl, control }: Addresses,
  linked: (url: string) => string,
): Environment {
  const audits = Object.entries(databases).map(([database, { auditUrl }]) => [
    `${database.toUpperCase()}_AUDIT_URL`,
    linked(auditUrl),
  ]);
  const jaeger = jaegerUrl === null ? [] : [['JAEGER_URL', jaegerUrl]];
  const launcher = control === undefined ? [] : [['LAB_CONTROL', control]];
  // The one address that asks is this machine's, and its benchmark asks as fast as it can.
  return Object.fromEntries([...audits, ...jaeger, ...launcher, ['RATE_LIMIT_PER_MINUTE', '0']]);
}
