/**
 * Where traces go: to whatever the user names, to a Jaeger that answers already, or to one of the lab's own, in
 * memory and on loopback. The lab starts with or without.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findJaeger, type JaegerSearch } from './jaeger-binary.ts';
import { isOk } from './nats.ts';
import { answers } from './ports.ts';
import type { PartSpec } from './supervisor.ts';
import { jaegerPart } from './topology.ts';
import { dyingWithLauncher } from './user.ts';

const otlpPort = 4318;
const uiPort = 16686;
const otlpOffset = 40;
const uiOffset = 41;
/** An order is about 60 spans of 1 KB each, so that these are about 150 MB. The oldest go first. */
const tracesMax = 2_500;
const memoryLimit = '320MiB';
const host = '127.0.0.1';

export type Tracing = {
  /** For every service. */
  env: Record<string, string>;
  jaegerUrl: string | null;
  spec?: PartSpec;
};

export type TracingOptions = {
  /** `off`: none is looked for beside one that answers already. */
  jaeger: 'find' | 'off';
  home: string;
  portBase: number;
  search: JaegerSearch;
};

export async function tracing({ jaeger, home, portBase, search }: TracingOptions): Promise<Tracing> {
  const { env, say } = search;
  const known = env.JAEGER_URL || `http://${host}:${uiPort}`;
  if (env.OTEL_SDK_DISABLED === 'true') return { env: {}, jaegerUrl: null };
  // The variable itself is passed on with every other OTEL_ one.
  if (env.OTEL_EXPORTER_OTLP_ENDPOINT) return { env: {}, jaegerUrl: known };
  if (await answers(otlpPort)) return { env: exportingTo(otlpPort, env), jaegerUrl: known };
  const own = { env: { OTEL_SDK_DISABLED: 'true' }, jaegerUrl: null };
  if (jaeger === 'off') return own;
  const binary = await findJaeger(search);
  if (!binary) return own;
  const otlp = portBase + otlpOffset;
  const ui = (await answers(uiPort)) ? portBase + uiOffset : uiPort;
  if ((await answers(otlp)) || (await answers(ui))) {
    say(`Jaeger: port ${otlp} or ${ui} is taken; this lab goes without`);
    return own;
  }
  say(`Jaeger: version ${binary.version} (${binary.from})`);
  const spec = jaegerServer(home, binary.path, { otlp, ui });
  return { env: exportingTo(otlp, env), jaegerUrl: `http://${host}:${ui}`, spec };
}

/**
 * All parts have the clock of one machine. Jaeger knows that by the address: without one it takes what starts
 * after its parent's end, as everything behind a broker does, for a clock that is wrong, and says so.
 */
const oneClock = `ip=${host}`;

const exportingTo = (port: number, { OTEL_RESOURCE_ATTRIBUTES: given }: JaegerSearch['env']) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: `http://${host}:${port}`,
  OTEL_RESOURCE_ATTRIBUTES: given ? `${given},${oneClock}` : oneClock,
});

/** One receiver, one store, one query server; the gRPC half of the last cannot be left out: any free port. */
const configuration = (ports: { otlp: number; ui: number }): string => `# Written by the lab at every start.
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics:
      level: none
    logs:
      level: warn
extensions:
  jaeger_storage:
    backends:
      memory:
        memory:
          max_traces: ${tracesMax}
  jaeger_query:
    storage:
      traces: memory
    http:
      endpoint: "${host}:${ports.ui}"
    grpc:
      endpoint: "${host}:0"
receivers:
  otlp:
    protocols:
      http:
        endpoint: "${host}:${ports.otlp}"
exporters:
  jaeger_storage_exporter:
    trace_storage: memory
`;

function jaegerServer(home: string, binary: string, ports: { otlp: number; ui: number }): PartSpec {
  const directory = join(home, 'jaeger');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, 'jaeger.yaml');
  writeFileSync(file, configuration(ports));
  const [command = binary, ...args] = [...dyingWithLauncher('SIGKILL'), binary, `--config=file:${file}`];
  return {
    name: jaegerPart,
    kind: 'jaeger',
    port: ports.ui,
    command,
    args,
    // Of itself it would send traces too, to a port that nobody listens on.
    env: { PATH: process.env.PATH ?? '', GOMEMLIMIT: memoryLimit, OTEL_TRACES_SAMPLER: 'always_off' },
    cwd: '/',
    // All that it has is in memory: there is nothing to save.
    stopSignal: 'SIGKILL',
    isReady: async () => (await isOk(`http://${host}:${ports.ui}/api/services`)) && answers(ports.otlp),
  };
}

export const howToGetJaeger = `none found. Put a \`jaeger\` of version 2 on the PATH (macOS: brew install jaeger;
     or a release of jaegertracing/jaeger), or run one: docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger:2.20.0
     Without one an order's timeline says what happened.`;
