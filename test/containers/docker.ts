/** Docker as the tests of the containers use it: through its own command line, in a project of their own. */
import { execFile, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '../..');
const project = `saga-lab-test-${process.pid}`;
const commandMsMax = 240_000;
const pullMsMax = 180_000;
const outputBytesMax = 64 * 1024 * 1024;

export const ports = { gateway: 28_080, jaeger: 28_686, grafana: 28_300 };

/** What one container is, as far as the tests look. */
export type Container = {
  Name: string;
  RestartCount: number;
  State: { Status: string; ExitCode: number; Health?: { Status: string } };
  Config: { User: string; Env: string[]; Image: string; Labels: Record<string, string> };
  HostConfig: {
    ReadonlyRootfs: boolean;
    CapAdd: string[] | null;
    CapDrop: string[] | null;
    SecurityOpt: string[] | null;
    Memory: number;
    Privileged: boolean;
    RestartPolicy: { Name: string };
  };
  NetworkSettings: {
    Ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
    Networks: Record<string, { IPAddress: string }>;
  };
};

export type Done = { code: number; stdout: string; stderr: string };

/** Why there can be no test with containers here, in one line; undefined when there can. */
export function whyNoContainers(images: readonly string[]): string | undefined {
  if (process.env.TEST_INFRA === 'embedded') return 'TEST_INFRA=embedded';
  const engine = docker(['version', '--format', '{{.Server.Version}}']);
  if (engine.error || engine.status !== 0) return 'no Docker engine answers';
  if (docker(['compose', 'version']).status !== 0) return 'the Docker here has no Compose v2';
  const missing = images.find((image) => !isHere(image));
  if (missing === undefined) return undefined;
  const reason = mayPull ? 'cannot be pulled' : 'is not here, and only TEST_INFRA=containers pulls it';
  return `the image ${missing} ${reason}`;
}

/** Nobody waits for a download that was not asked for: the rule of all tests with containers (support/infra.ts). */
const mayPull = process.env.TEST_INFRA === 'containers';

/** Here, or, when that was asked for, after a pull. */
export function isHere(image: string): boolean {
  if (docker(['image', 'inspect', image]).status === 0) return true;
  return mayPull && docker(['pull', '--quiet', image], pullMsMax).status === 0;
}

function docker(args: readonly string[], timeout = 15_000) {
  return spawnSync('docker', args, { encoding: 'utf8', timeout, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Whatever it exits with. */
export async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Done> {
  const options = { cwd: root, env, timeout: commandMsMax, maxBuffer: outputBytesMax };
  return promisify(execFile)(command, args, options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr, message }) => ({
      code: typeof code === 'number' ? code : 1,
      stdout: stdout ?? '',
      stderr: stderr || message,
    }),
  );
}

/** `docker compose` in the project of this run, with these variables in the shell. */
export function composeWith(variables: Record<string, string> = {}) {
  const env = {
    ...process.env,
    // What is not in a profile that is on, `down` leaves behind. `up` is told what to start by name.
    COMPOSE_PROFILES: 'metrics',
    COMPOSE_PROJECT_NAME: project,
    // The tests ask all from one address, and often.
    RATE_LIMIT_PER_MINUTE: '0',
    GATEWAY_PORT: String(ports.gateway),
    JAEGER_PORT: String(ports.jaeger),
    GRAFANA_PORT: String(ports.grafana),
    ...variables,
  };
  return (...args: string[]) => run('docker', ['compose', ...args], env);
}

/** Throws what it complained about when it failed. */
export async function succeeds(doing: Promise<Done>): Promise<string> {
  const { code, stdout, stderr } = await doing;
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr.slice(-2_000)}`);
  return stdout;
}

/** Every container of the project, by its service. */
export async function containers(): Promise<Map<string, Container>> {
  const compose = composeWith();
  const ids = (await succeeds(compose('ps', '--all', '--quiet'))).split('\n').filter(Boolean);
  const all = JSON.parse(await succeeds(run('docker', ['inspect', ...ids], process.env))) as Container[];
  return new Map(all.map((one) => [one.Config.Labels['com.docker.compose.service'] ?? '', one]));
}

/** Runs in the container of a service, without what the image sets for services. */
export function inside(service: string, ...command: string[]): Promise<Done> {
  return composeWith()('exec', '-T', service, 'env', '-u', 'NODE_OPTIONS', ...command);
}
