import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Part } from '#libs/contracts/parts.ts';
import { LabError, systemCode } from './errors.ts';
import { logTail } from './log-tail.ts';
import {
  type Exit,
  endProcess,
  type Running,
  signalProcess,
  spawnDetached,
  waitGone,
  waitStill,
} from './process.ts';
import { type Identity, standsStill } from './process-table.ts';

export type PartSpec = {
  name: string;
  kind: Part['kind'];
  port: number;
  command: string;
  args: readonly string[];
  env: Record<string, string>;
  cwd: string;
  stopSignal: NodeJS.Signals;
  /** Whether it serves now. Must answer within a second or so, and never throw. */
  isReady: () => Promise<boolean>;
  /** Runs before every start, also after a crash: clears what the last life left behind. */
  beforeStart?: () => Promise<void>;
};

export type SupervisorOptions = {
  home: string;
  say: (line: string) => void;
  /** Called when the process behind the part has changed. */
  onChange: () => void;
};

const readyWithinMs = 60_000;
const readyPollMs = 40;
const stopWithinMs = 6_000;
const killWithinMs = 10_000;
const stillWithinMs = 5_000;
const restartDelayMsMin = 100;
const restartDelayMsMax = 5_000;
const stableAfterMs = 10_000;
/** A part that never was ready and ended this often has a defect that more tries will not cure. */
const earlyExitsMax = 3;

/** Keeps one process running: restarts it when it ends unasked, with growing pauses. */
export class Supervisor {
  readonly spec: PartSpec;
  readonly logFile: string;
  readonly #options: SupervisorOptions;
  #running: Running | undefined;
  #starting: Promise<void> | undefined;
  /** Of the process that is being stopped or killed. */
  #ending: Promise<unknown> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #wanted = false;
  #wasReady = false;
  #earlyExits = 0;
  #restartDelayMs = restartDelayMsMin;
  #failure: LabError | undefined;

  constructor(spec: PartSpec, options: SupervisorOptions) {
    this.spec = spec;
    this.logFile = join(options.home, 'logs', `${spec.name}.log`);
    this.#options = options;
  }

  get identity(): Identity | undefined {
    return this.#running?.identity;
  }

  /** False while it is held down, or after it was given up. */
  get isWanted(): boolean {
    return this.#wanted;
  }

  /** Starts it when it is not running; resolves when it is ready. */
  async start(): Promise<void> {
    if (!this.#wanted) {
      this.#wanted = true;
      this.#wasReady = false;
      this.#earlyExits = 0;
      this.#failure = undefined;
      this.#restartDelayMs = restartDelayMsMin;
      clearTimeout(this.#retry);
      // Two lives at once would be in each other's way, and the end of one be taken for that of the other.
      await this.#ending;
      if (this.#wanted) await this.#spawn();
    }
    await this.ready();
  }

  async ready(): Promise<void> {
    const deadline = Date.now() + readyWithinMs;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (!this.#wanted) throw new LabError('part-not-ready', `${this.spec.name} is stopped`);
      const asked = this.#running;
      if (asked !== undefined && (await this.spec.isReady()) && asked === this.#running) break;
      if (Date.now() > deadline) throw this.#notReady(`was not ready within ${readyWithinMs / 1000} s`);
      await delay(readyPollMs);
    }
    this.#wasReady = true;
  }

  /** Stops it in good order and leaves it down. */
  async stop(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#retry);
    await this.#starting;
    const running = this.#running;
    if (running === undefined) return;
    const ended = endProcess(running.identity, this.spec.stopSignal, stopWithinMs);
    await this.#gone(ended.then(() => running.exited));
  }

  /** Resolves when the process has gone. The supervisor starts it again unless it is to be held down. */
  async kill(signal: NodeJS.Signals, hold: boolean): Promise<void> {
    if (hold) {
      this.#wanted = false;
      clearTimeout(this.#retry);
    }
    await this.#starting;
    const running = this.#running;
    // Between two lives there is nothing to kill, but it can be kept from the next one.
    if (running === undefined && hold) return;
    if (running === undefined) throw this.#notRunning();
    // Somebody asked for it: it says nothing about the part, which need not be started more slowly for it.
    this.#restartDelayMs = restartDelayMsMin;
    this.#earlyExits -= 1;
    signalProcess(running.identity, signal);
    const late = `${this.spec.name} did not end on ${signal} in ${killWithinMs} ms`;
    const gone = waitGone(running.identity, killWithinMs).then((isGone) => {
      if (!isGone) throw new LabError('part-not-ready', late);
      return running.exited;
    });
    await this.#gone(gone);
  }

  /** Whoever starts it meanwhile waits for this. */
  async #gone(gone: Promise<unknown>): Promise<void> {
    this.#ending = gone.catch(() => undefined); // Only for the wait: the failure is told below.
    await gone;
  }

  /** SIGSTOP. Resolves when it stands still with all its children, which may be a moment after the signal. */
  async pause(): Promise<void> {
    const running = this.#running;
    if (running === undefined) throw this.#notRunning();
    signalProcess(running.identity, 'SIGSTOP');
    if (await waitStill(running.identity, stillWithinMs)) return;
    const text = `${this.spec.name} did not stand still on SIGSTOP in ${stillWithinMs} ms`;
    throw new LabError('part-not-ready', text);
  }

  /** SIGCONT. */
  resume(): void {
    if (this.#running === undefined) throw this.#notRunning();
    signalProcess(this.#running.identity, 'SIGCONT');
  }

  /** By the kernel's word, whoever has paused it. */
  get isPaused(): boolean {
    return this.#running !== undefined && standsStill(this.#running.identity);
  }

  #notRunning(): LabError {
    return new LabError('not-running', `${this.spec.name} is not running`);
  }

  /** Never a second one: whoever asks while it is being started gets that start. */
  async #spawn(): Promise<void> {
    if (this.#running !== undefined) return;
    this.#starting ??= this.#spawnOnce().finally(() => {
      this.#starting = undefined;
    });
    await this.#starting;
  }

  async #spawnOnce(): Promise<void> {
    const { name, command, args, env, cwd } = this.spec;
    const pidFile = join(this.#options.home, 'run', `${name}.json`);
    try {
      await this.spec.beforeStart?.();
      const running = await spawnDetached({ command, args, env, cwd, pidFile, logFile: this.logFile });
      this.#running = running;
      void running.exited.then((exit) => this.#ended(running, exit));
      this.#options.onChange();
    } catch (error) {
      // A binary that cannot be run at all is told at once; a later failure is tried again like a crash.
      const reason = error instanceof Error ? error.message : String(error);
      if (!this.#wasReady || systemCode(error) === 'ENOENT')
        this.#fail(`could not be started: ${reason}`, error);
      else this.#retryLater(`could not be started (${reason})`);
    }
  }

  #ended(running: Running, exit: Exit): void {
    this.#running = undefined;
    this.#options.onChange();
    if (!this.#wanted) return;
    if (Date.now() - running.startedAtMs > stableAfterMs) this.#restartDelayMs = restartDelayMsMin;
    const how = exit.signal ?? `exit code ${exit.code}`;
    this.#earlyExits += 1;
    if (!this.#wasReady && this.#earlyExits >= earlyExitsMax) {
      this.#fail(`ended ${earlyExitsMax} times (${how}) before it was ready`);
      return;
    }
    this.#retryLater(`ended unasked (${how})`);
  }

  #retryLater(what: string): void {
    if (!this.#wanted) return;
    this.#options.say(`${this.spec.name} ${what}; starting it again in ${this.#restartDelayMs} ms`);
    this.#retry = setTimeout(() => {
      if (this.#wanted) void this.#spawn();
    }, this.#restartDelayMs);
    this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, restartDelayMsMax);
  }

  #fail(what: string, cause?: unknown): void {
    this.#wanted = false;
    this.#failure = this.#notReady(what, cause);
  }

  #notReady(what: string, cause?: unknown): LabError {
    const tail = logTail(this.logFile);
    const shown = tail === '' ? '' : `\nThe last lines of its log:\n${tail}`;
    const text = `${this.spec.name} ${what}. Its log is ${this.logFile}${shown}`;
    return new LabError('part-not-ready', text, { cause });
  }
}
