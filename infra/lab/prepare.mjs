// Prepares a fresh clone. Runs before anything is installed, under any Node from 18 on: plain JavaScript
// without dependencies. Silent and quick when there is nothing to do.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const nodeMajorMin = 24;
const root = fileURLToPath(new URL('../../', import.meta.url));
const modules = join(root, 'node_modules');

/** The Node that the lockfile brings, or the running one when it is new enough; exits with advice otherwise. */
export function nodePath() {
  const installed = join(modules, '.bin', 'node');
  if (existsSync(installed)) return installed;
  if (Number(process.versions.node.split('.')[0]) >= nodeMajorMin) return process.execPath;
  console.error(
    `Saga Lab needs Node ${nodeMajorMin} or newer; this is ${process.versions.node}, and npm has no Node for ` +
      `${process.platform} ${process.arch}.\nInstall it (macOS: brew install node; others: nodejs.org), then try again.`,
  );
  process.exit(1);
}

/** Runs `npm ci` when what is installed is not what the lockfile says. */
export function installDependencies({ omitDev }) {
  const reason = outdated(omitDev);
  if (reason === undefined) return;
  const startedMs = Date.now();
  console.error(
    `preparing: npm ci${omitDev ? ' --omit=dev' : ''} (${reason}); this takes a minute at most …`,
  );
  const args = ['ci', '--loglevel=error', ...(omitDev ? ['--omit=dev'] : ['--include=dev'])];
  // Run by npm itself, its own path is known; that works without a shell and with any npm.
  const npm = process.env.npm_execpath;
  const isScript = npm !== undefined && /npm-cli\.js$/.test(npm);
  const [command, first] = isScript ? [process.execPath, [npm]] : ['npm', []];
  const options = { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] };
  const done = spawnSync(command, [...first, ...args], options);
  if (done.status !== 0) {
    console.error('preparing: npm ci failed; what npm says stands above. Is the network there?');
    process.exit(done.status ?? 1);
  }
  console.error(`preparing: dependencies are installed (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
}

/**
 * Why an install is needed, or undefined. npm notes what it installed in node_modules/.package-lock.json:
 * comparing contents is exact, where times of files change with every checkout.
 */
function outdated(omitDev) {
  const noted = join(modules, '.package-lock.json');
  if (!existsSync(noted)) return 'nothing is installed yet';
  const installed = JSON.parse(readFileSync(noted, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  for (const [path, row] of Object.entries(wanted)) {
    if (!path.startsWith('node_modules/') || row.link) continue;
    const has = installed[path];
    if (has !== undefined) {
      if (has.version !== row.version) return `${path.slice(13)} has changed`;
      continue;
    }
    const isForDevelopment = row.dev || row.devOptional;
    if (isForMe(row) && !(omitDev && isForDevelopment)) return `${path.slice(13)} is missing`;
  }
  return undefined;
}

/** Optional packages are wanted only when they are made for exactly this platform. */
function isForMe(row) {
  if (!row.optional && !row.devOptional) return true;
  if (!row.os || !row.cpu || row.libc) return false;
  return row.os.includes(process.platform) && row.cpu.includes(process.arch);
}

/** Fetches a NATS server when there is none; the how and where are in nats-binary.ts. */
function prepareBroker(node) {
  if (process.env.NATS_URL || hasBroker()) return;
  const args = ['--use-system-ca', fileURLToPath(new URL('fetch-nats.ts', import.meta.url))];
  // Behind a proxy, Node's fetch goes through it only when it is told to.
  const env = { ...process.env, NODE_USE_ENV_PROXY: '1' };
  try {
    execFileSync(node, args, { cwd: root, stdio: 'inherit', env });
  } catch (error) {
    process.exit(error.status ?? 1); // It has said why.
  }
}

function hasBroker() {
  const base = process.env.XDG_CACHE_HOME || join(process.env.HOME || homedir(), '.cache');
  const cache = process.env.SAGA_LAB_CACHE || join(base, 'saga-lab');
  if (existsSync(join(cache, `nats-server-${process.platform}-${process.arch}`))) return true;
  // One that is too old is noticed at the start, which then fetches another.
  const path = (process.env.PATH || '').split(delimiter);
  return path.some((directory) => directory !== '' && existsSync(join(directory, 'nats-server')));
}

// The real path, because a checkout may be reached through a symbolic link.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  installDependencies({ omitDev: process.argv.includes('--omit=dev') });
  prepareBroker(nodePath());
}
