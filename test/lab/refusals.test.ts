import { createServer } from 'node:http';
import { expect, test } from 'vitest';
import { launchLab } from '../../infra/lab/launch.ts';
import { openPorts, place, processesOf, serviceOnly } from './support.ts';

const slowMs = 30_000;

test('a taken port is named, with its holder, and nothing is started', { timeout: slowMs }, async () => {
  await using at = await place();
  const stranger = createServer();
  const port = at.portBase + 2;
  await new Promise<void>((resolve) => stranger.listen(port, '127.0.0.1', resolve));
  try {
    const refused = launchLab({ home: at.home, portBase: at.portBase, parts: serviceOnly });
    await expect(refused).rejects.toMatchObject({ code: 'port-taken' });
    await expect(refused).rejects.toThrow(
      new RegExp(`port ${port} \\(for gateway\\) is taken by node.* \\(pid \\d+\\)`),
    );
    expect(stranger.listening).toBe(true);
    expect(processesOf(at.home)).toEqual([]);
  } finally {
    await new Promise((resolve) => stranger.close(resolve));
  }
});

test('a second lab in the same home is refused, and the first goes on', { timeout: slowMs }, async () => {
  await using at = await place();
  const options = { home: at.home, portBase: at.portBase, parts: serviceOnly };
  const lab = await launchLab(options);
  try {
    await expect(launchLab(options)).rejects.toMatchObject({ code: 'home-in-use' });
    await lab.ready();
  } finally {
    await lab.close();
  }
});

test('a service that cannot start is told with its log, and the rest is stopped', {
  timeout: slowMs,
}, async () => {
  await using at = await place();
  const env = { TINY_FAILS: 'yes' };
  const failing = launchLab({ home: at.home, portBase: at.portBase, parts: serviceOnly, env });
  await expect(failing).rejects.toThrow(/gateway ended 3 times .*the tiny service was told to fail/s);
  expect(processesOf(at.home)).toEqual([]);
  expect(await openPorts(at)).toEqual([]);
});

test('a start that is interrupted stops what it started', { timeout: slowMs }, async () => {
  await using at = await place();
  const stop = new AbortController();
  const options = { home: at.home, portBase: at.portBase, parts: serviceOnly, signal: stop.signal };
  const starting = launchLab({ ...options, say: (line) => line.startsWith('ready: nats') && stop.abort() });
  await expect(starting).rejects.toMatchObject({ code: 'interrupted' });
  expect(processesOf(at.home)).toEqual([]);
});
