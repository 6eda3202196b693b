#!/usr/bin/env node
// `npx lab`: finds the right Node and hands over to cli.ts. Plain JavaScript, because the Node that runs
// this file may be one that knows no TypeScript.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { installDependencies, nodePath } from '../prepare.mjs';

installDependencies({ omitDev: true });
const cli = fileURLToPath(new URL('../cli.ts', import.meta.url));
const child = spawn(nodePath(), [cli, ...process.argv.slice(2)], { stdio: 'inherit' });
// Ctrl-C reaches the child from the terminal by itself; a signal sent to this process alone does not.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`Node could not be started: ${error.message}`);
  process.exitCode = 1;
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  // Die of the same signal, so that a shell sees what happened.
  for (const each of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(each);
  process.kill(process.pid, signal);
});
