import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { faultPoints } from '#libs/faults/points.ts';

const cli = fileURLToPath(new URL('../../infra/lab/cli.ts', import.meta.url));

function lab(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

test('help lists every command', () => {
  const { status, out } = lab('help');
  expect(status).toBe(0);
  const parts = ['up', 'down', 'status'];
  const stories = [
    'order',
    'watch',
    'break',
    'heal',
    'check',
    'dead-letters',
    'in-doubt',
    'scenario',
    'storm',
    'bench',
    'completion',
  ];
  for (const name of [...parts, ...stories]) expect(out).toMatch(new RegExp(`^ {2}${name} `, 'm'));
});

test('an unknown command suggests the one that was meant, with exit code 2', () => {
  expect(lab('stauts')).toMatchObject({ status: 2, err: expect.stringContaining('npx lab status') });
});

test.each([
  ['an unknown option', ['status', '--nonsense']],
  ['an argument too many', ['down', 'now']],
  ['a port that is none', ['up', '--port', 'eighty']],
  ['an amount that is none', ['order', '--quantity', 'many']],
  ['two ways to say the same', ['order', '--dish', 'dish-001', '--item', 'dish-002']],
  ['a fault that is none', ['order', '--fault', 'charge']],
  ['letters that are not named', ['dead-letters', 'replay']],
  ['a state that is none', ['dead-letters', '--state', 'lost']],
  ['a time that is none', ['watch', 'some-order', '--timeout', 'soon']],
  ['a shell that is none', ['completion', 'zhs']],
])('%s is a usage error', (_, args) => {
  const { status, err } = lab(...args);
  expect(status).toBe(2);
  expect(err).toContain(`npx lab ${args[0]} --help`);
});

test('without a lab, status and down say so, for programs too', () => {
  const home = join(tmpdir(), 'saga-lab-that-is-not-there');
  expect(lab('status', '--home', home)).toMatchObject({
    status: 1,
    err: expect.stringContaining('npm start'),
  });
  const { status, out } = lab('down', '--home', home, '--json');
  expect(status).toBe(1);
  expect(JSON.parse(out)).toMatchObject({ code: 'not-running' });
});

/** What bash offers after these words, by this script. */
function offered(script: string, ...words: string[]): string[] {
  const ask = `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lab; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', ask, 'bash', ...words], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return stdout.trim().split('\n');
}

test('bash completes every command, the fault points, and what each can do', { timeout: 20_000 }, () => {
  const script = lab('completion', 'bash').out;
  const commands = [...lab('help').out.matchAll(/^ {2}(\S+) /gm)].map(([, name]) => name ?? '');
  expect(offered(script, 'npx', 'lab', '').sort()).toEqual([...commands, 'help'].sort());
  expect(offered(script, 'npx', 'lab', 'break', 'payment.charge.after-p')).toEqual([
    'payment.charge.after-publish-before-ack',
    'payment.charge.after-prepare',
  ]);
  expect(offered(script, 'lab', 'break', 'coordinator.after-decision', '')).toEqual([
    'crash',
    'delay',
    'hang',
  ]);
  const options = offered(script, 'npx', 'lab', 'break', 'order.http', 'error', '--h');
  expect(options).toEqual(['--hits', '--home', '--help']);
  expect(offered(script, 'npx', 'prettier', 'br')).toEqual(['']);
});

test.each(['bash', 'zsh', 'fish'])('the completion of %s knows every fault point', (shell) => {
  const { status, out } = lab('completion', shell);
  expect(status).toBe(0);
  for (const at of Object.keys(faultPoints)) expect(out).toContain(at);
});
