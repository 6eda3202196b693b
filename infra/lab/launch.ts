import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { socketDirectory } from './control/json-socket.ts';
import { serveControl } from './control/server.ts';
import { LabError } from './errors.ts';
import { homeDirectory, reapLeftovers, stateFile, takeHome, writeState } from './home.ts';
import { type Lab, labOf, startOrder } from './lab.ts';
import type { BrokerKeeper } from './nats.ts';
import { buildParts, type Parts } from './parts.ts';
import { identify } from './process-table.ts';
import { Supervisor } from './supervisor.ts';
import { defaultPorts, labTopology, scaled, type Topology } from './topology.ts';

export type { Lab };

export type LabOptions = {
  /** The directory that holds data, logs and state; one lab runs in it at a time. */
  home?: string;
  gatewayPort?: number;
  portBase?: number;
  /** Wipes the data of this home first. */
  fresh?: boolean;
  /** Added to the environment of every service; also searched for NATS_URL, SAGA_LAB_CACHE and PATH. */
  env?: Record<string, string>;
  /** What to start; the whole lab unless a test says otherwise. */
  parts?: Topology;
  /** Of every service, gateway and coordinator included; 1 unless it says. The databases stay one for each. */
  replicas?: number;
  /** Nodes of the broker: 1, or a cluster of 3 or 5, whose streams then have as many replicas. */
  natsNodes?: number;
  /** `find`: a Jaeger is started when there is one to start. Default `off`: only one that runs already is used. */
  jaeger?: 'find' | 'off';
  /** A link between each process and each database and broker that it talks to, to be cut, slowed and reset. */
  proxies?: boolean;
  /** Progress and restarts, one line each. */
  say?: (line: string) => void;
  /** Gives up a start that is under way; everything started so far is stopped. */
  signal?: AbortSignal;
};

const spareWithinMs = 10_000;

/** The opposite of their start. */
const stopOrder = [['service'], ['nats', 'links', 'jaeger'], ['database']] as const;

/** Starts the lab and resolves when every part is ready; on failure everything is stopped again. */
export async function launchLab(options: LabOptions): Promise<Lab> {
  const home = homeDirectory(options.home);
  const say = options.say ?? (() => undefined);
  const release = await takeHome(home);
  const supervisors: Supervisor[] = [];
  const sockets = socketDirectory(home);
  let closeControl = async () => {};
  let keeper: BrokerKeeper | undefined;
  const close = async () => {
    try {
      await closeControl();
      await keeper?.stop();
      await stopAll(supervisors);
    } finally {
      sockets.remove();
      end(home, release);
    }
  };
  try {
    for (const name of await reapLeftovers(home)) say(`${name} was left over from a killed lab: ended`);
    if (options.fresh) for (const kept of ['postgres', 'nats', 'passwords.json']) wipe(home, kept);
    const parts = await buildParts({
      home,
      say,
      gatewayPort: options.gatewayPort ?? defaultPorts.gateway,
      portBase: options.portBase ?? defaultPorts.base,
      env: options.env ?? {},
      topology: scaled(options.parts ?? labTopology, options.replicas ?? 1, options.natsNodes ?? 1),
      jaeger: options.jaeger ?? 'off',
      proxies: options.proxies ?? false,
      sockets: sockets.directory,
      signal: options.signal,
    });
    options.signal?.throwIfAborted();
    const startedAt = new Date().toISOString();
    const onChange = () => saveState(home, parts, supervisors, startedAt);
    for (const spec of parts.specs) supervisors.push(new Supervisor(spec, { home, say, onChange }));
    let closing: Promise<void> | undefined;
    const lab = labOf(home, parts, supervisors, () => {
      closing ??= close();
      return closing;
    });
    closeControl = await serveControl(parts.control, lab);
    await startAll(supervisors, parts, say, options.signal);
    keeper = await parts.keep();
    return lab;
  } catch (error) {
    await close();
    if (options.signal?.aborted)
      throw new LabError('interrupted', 'The start was interrupted', { cause: error });
    throw error;
  }
}

async function startAll(
  supervisors: readonly Supervisor[],
  parts: Parts,
  say: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => undefined); // Only the race below cares.
  for (const kinds of startOrder) {
    const startedMs = Date.now();
    const wave = supervisors.filter(({ spec }) => (kinds as readonly string[]).includes(spec.kind));
    const started = Promise.all(
      wave.map(async (supervisor) => {
        if (supervisor.spec.kind === 'jaeger') return startSpare(supervisor, say);
        await supervisor.start();
        await parts.ensure(supervisor.spec.name);
      }),
    );
    await Promise.race([started, aborted]);
    const names = wave.map(({ spec }) => spec.name).join(', ');
    if (names !== '') say(`ready: ${names} (${seconds(startedMs)})`);
  }
}

/** What the lab can do without must neither fail nor hold up its start. */
async function startSpare(supervisor: Supervisor, say: (line: string) => void): Promise<void> {
  const started = supervisor.start().catch((error: Error) => say(`the lab goes without: ${error.message}`));
  await Promise.race([started, delay(spareWithinMs, undefined, { ref: false })]);
}

/** Services first, while what they need is still there; the databases, which have the most to save, last. */
async function stopAll(supervisors: readonly Supervisor[]): Promise<void> {
  for (const kinds of stopOrder) {
    const wave = supervisors.filter(({ spec }) => (kinds as readonly string[]).includes(spec.kind));
    await Promise.all(wave.map((supervisor) => supervisor.stop()));
  }
}

function saveState(home: string, parts: Parts, supervisors: readonly Supervisor[], startedAt: string): void {
  const launcher = identify(process.pid);
  if (launcher === undefined) return; // A process that runs this line is alive; the type does not know it.
  const rows = supervisors.map(({ spec, identity, logFile }) => {
    return [spec.name, { kind: spec.kind, port: spec.port, process: identity ?? null, log: logFile }];
  });
  const { url, urls, databases, nats, jaegerUrl, control } = parts;
  const addresses = { url, urls, home, databases, nats, jaegerUrl, control };
  writeState({ ...addresses, launcher, startedAt, parts: Object.fromEntries(rows) });
}

function end(home: string, release: () => void): void {
  rmSync(stateFile(home), { force: true });
  release();
}

const wipe = (home: string, name: string): void => rmSync(join(home, name), { recursive: true, force: true });
const seconds = (sinceMs: number): string => `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
