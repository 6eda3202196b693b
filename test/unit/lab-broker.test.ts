/** What the launcher finds in a home that an older version has left, before any broker is started. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { natsServers } from '#lab/nats.ts';
import { labTopology, natsNodesOf, scaled } from '#lab/topology.ts';
import { streamAccount } from '../../infra/nats/users.ts';

let home: string;
const store = (account: string) => join(home, 'nats', 'store', 'jetstream', account, 'streams', 'EVENTS');
const prepare = (count: number) => {
  const nodes = natsNodesOf(scaled(labTopology, 1, count), 24_300);
  return natsServers({ home, binary: '/nowhere', nodes, passwords: {} });
};

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'saga-home-'));
});
afterEach(() => rmSync(home, { recursive: true }));

test('Streams of the one account that older versions had are taken over', async () => {
  mkdirSync(store('$G'), { recursive: true });
  await prepare(1);
  expect([store('$G'), store(streamAccount)].map((path) => existsSync(path))).toEqual([false, true]);
});

test('Streams that are in their account already stay, whatever else is there', async () => {
  for (const account of ['$G', streamAccount]) mkdirSync(store(account), { recursive: true });
  await prepare(1);
  expect([store('$G'), store(streamAccount)].map((path) => existsSync(path))).toEqual([true, true]);
});

test('A cluster of an older version is refused, with what to do', async () => {
  await prepare(3);
  mkdirSync(store('$G'), { recursive: true });
  await expect(prepare(3)).rejects.toMatchObject({
    code: 'home-other-broker',
    message: expect.stringContaining('--fresh'),
  });
  expect(existsSync(store('$G'))).toBe(true);
});
