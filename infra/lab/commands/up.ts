import { join } from 'node:path';
import { type Arguments, type Io, type Options, UsageError } from '../command.ts';
import { howToGetJaeger } from '../jaeger.ts';
import { type Lab, launchLab } from '../launch.ts';
import { defaultPorts, natsNodesAllowed, replicasMax } from '../topology.ts';
import { wholeNumber } from '../values.ts';

export const summary =
  'Starts databases, broker, services and console; stays until Ctrl-C, then stops them all.';
export const options = {
  port: { type: 'string', value: 'n', description: `the public port (default: ${defaultPorts.gateway})` },
  'port-base': {
    type: 'string',
    value: 'n',
    description: `where the ports of all other parts begin (default: ${defaultPorts.base})`,
  },
  replicas: {
    type: 'string',
    value: 'n',
    description: 'of every service, the gateway and the coordinator too (default: 1)',
  },
  'nats-cluster': {
    type: 'string',
    value: 'n',
    description: 'nodes of the broker, 3 or 5, each holding every message (default: one broker alone)',
  },
  proxies: {
    type: 'boolean',
    description: 'put a link before each database and broker, for npx lab link',
  },
  fresh: { type: 'boolean', description: 'wipe the data of the last run first' },
} as const satisfies Options;
export const examples = [
  'npx lab up',
  'npx lab up --replicas 2 --nats-cluster 3',
  'npx lab up --fresh --port 8081 --port-base 27000 --home /tmp/second-lab',
];

const portMax = 65_535;
/** Ctrl-C reaches this process from the terminal and again from npm: two of them together are one. */
const impatientAfterMs = 2_000;

export async function run({ values }: Arguments<typeof options>, io: Io): Promise<number> {
  const startedMs = Date.now();
  const since = () => `${((Date.now() - startedMs) / 1000).toFixed(1).padStart(5)} s`;
  const stop = stopRequest(io);
  const lab = await launchLab({
    home: io.home,
    gatewayPort: port(values.port, '--port') ?? defaultPorts.gateway,
    portBase: port(values['port-base'], '--port-base') ?? defaultPorts.base,
    replicas:
      values.replicas === undefined ? 1 : wholeNumber(values.replicas, '--replicas', { max: replicasMax }),
    natsNodes: natsNodes(values['nats-cluster']),
    proxies: values.proxies ?? false,
    fresh: values.fresh ?? false,
    jaeger: 'find',
    say: (line) => io.err(`${since()}  ${line}`),
    signal: stop,
  });
  if (values.json) {
    const { url, urls, home, databases, nats, jaegerUrl, parts } = lab;
    io.out(JSON.stringify({ url, urls, home, databases, nats, jaegerUrl, parts, pid: process.pid }));
  } else {
    io.out(welcome(lab));
  }
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
  const closingMs = Date.now();
  await lab.close();
  io.err(`everything is stopped (${((Date.now() - closingMs) / 1000).toFixed(1)} s)`);
  return 0;
}

/** Aborts at the first Ctrl-C, SIGTERM or hang-up; a second one, later, gives up waiting. */
function stopRequest(io: Io): AbortSignal {
  const stop = new AbortController();
  let firstMs: number | undefined;
  const asked = () => {
    if (firstMs === undefined) {
      firstMs = Date.now();
      io.err('stopping …');
      stop.abort();
    } else if (Date.now() - firstMs > impatientAfterMs) {
      // What still runs dies with this process (Linux), or is ended at the next start.
      process.kill(process.pid, 'SIGKILL');
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, asked);
  return stop.signal;
}

function port(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (Number.isInteger(number) && number > 0 && number <= portMax) return number;
  throw new UsageError(`${option} wants a port number, not '${text}'`);
}

function natsNodes(text: string | undefined): number {
  if (text === undefined) return 1;
  const nodes = natsNodesAllowed.find((each) => String(each) === text);
  if (nodes !== undefined) return nodes;
  throw new UsageError(`--nats-cluster takes ${natsNodesAllowed.join(', ')}: an even number adds no safety`);
}

function welcome(lab: Lab): string {
  const order = (customer: string) =>
    `curl -s '${lab.url}/api/orders' -H 'content-type: application/json' -H 'prefer: wait=5' \\\n` +
    `       -d '{"customerId":"${customer}","city":"bengaluru","items":[{"dishId":"masala-dosa","quantity":2}]}'`;
  const isOff = process.env.OTEL_SDK_DISABLED === 'true';
  const jaeger = lab.jaegerUrl ?? (isOff ? 'off, as OTEL_SDK_DISABLED says' : howToGetJaeger);
  return `
  Saga Lab is ready: ${lab.url}

  1. Place an order that is paid and delivered:
     ${order('asha')}
  2. Place one that cannot be paid, because ravi's wallet is empty:
     ${order('ravi')}
  3. See what happened to an order, in causal order (take an orderId from above):
     curl -s ${lab.url}/api/orders/<orderId>/timeline

  Traces:  ${jaeger}
  Logs:    ${join(lab.home, 'logs')}
  Ctrl-C stops everything.
`;
}
