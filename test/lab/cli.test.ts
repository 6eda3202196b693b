import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

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
    'bench',
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
