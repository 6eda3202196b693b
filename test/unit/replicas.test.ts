import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { createReplicaCaller } from '#libs/service/ndjson.ts';
import { createReplicas, isUnsent, type Replicas, type ReplicasOptions } from '#libs/service/replicas.ts';
import { eventually } from '../support/eventually.ts';

type Behaviour = 'answers' | 'breaks' | 'hangs';
type Fake = { url: string; port: number; asked: string[]; behaviour: Behaviour; server: Server };

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A replica: a real server that notes what it is asked and answers with its own address. */
async function fake(behaviour: Behaviour = 'answers', host = '127.0.0.1', port = 0): Promise<Fake> {
  const server = createServer((request, response) => {
    one.asked.push(`${request.method} ${request.url}`);
    if (one.behaviour === 'breaks') request.socket.destroy();
    if (one.behaviour === 'answers') response.end(`${JSON.stringify({ index: 0, answer: one.url })}\n`);
  });
  const one: Fake = { url: '', port: 0, asked: [], behaviour, server };
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  one.port = (server.address() as AddressInfo).port;
  one.url = `http://${host}:${one.port}`;
  cleanups.push(() => down(one));
  return one;
}

const down = ({ server }: Fake) =>
  new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });

function replicasOf(fakes: readonly Pick<Fake, 'url'>[], over: Partial<ReplicasOptions> = {}): Replicas {
  const urls = fakes.map(({ url }) => url).join(',');
  const replicas = createReplicas({ urls, resolve: false, connectionsMax: 4, ...over });
  cleanups.push(() => replicas.close());
  return replicas;
}

const read = { method: 'GET', path: '/it', repeat: 'always', withinMs: 2_000 } as const;
const write = { method: 'POST', path: '/it', repeat: 'unsent', withinMs: 2_000 } as const;
const timesOf = (fakes: readonly Fake[]) => fakes.map(({ asked }) => asked.length);

describe('Requests to the replicas of a service', () => {
  test('are spread over all of them', async () => {
    const fakes = [await fake(), await fake(), await fake()];
    const replicas = replicasOf(fakes);
    for (let index = 0; index < 9; index++) expect((await replicas.request(read)).status).toBe(200);
    expect(timesOf(fakes)).toEqual([3, 3, 3]);
  });

  test('go to the others when one is away, whatever they are, and it is left alone for a moment', async () => {
    const [away, there] = [await fake(), await fake()];
    await down(away);
    const replicas = replicasOf([away, there]);
    for (let index = 0; index < 6; index++) expect((await replicas.request(write)).status).toBe(200);
    expect(there.asked).toHaveLength(6);
    // In any order but at the end, where it is worth a try when nobody else answers.
    for (let index = 0; index < 2; index++) expect(replicas.spread().at(-1)?.origin).toBe(away.url);
  });

  test('find one that is back', async () => {
    const [away, there] = [await fake(), await fake()];
    await down(away);
    const replicas = replicasOf([away, there]);
    await replicas.request(write);
    await replicas.request(write);
    const back = await fake('answers', '127.0.0.1', away.port);
    await eventually('it is asked again', async () => {
      await replicas.request(read);
      return back.asked.length > 0;
    });
  });

  test('are made again after the connection broke only when doing it twice does no harm', async () => {
    const fakes = [await fake('breaks'), await fake('breaks')];
    const replicas = replicasOf(fakes);
    await expect(replicas.request(write)).rejects.toThrow();
    expect(timesOf(fakes).reduce((sum, times) => sum + times)).toBe(1);
    await expect(replicas.request(read)).rejects.toThrow();
    expect(timesOf(fakes).reduce((sum, times) => sum + times)).toBe(3);
  });

  test('do not wait for one that stands still when they are reads, and leave it for the last', async () => {
    const [still, there] = [await fake('hangs'), await fake()];
    const replicas = replicasOf([still, there]);
    const answers = [];
    for (let index = 0; index < 6; index++) answers.push(replicas.request({ ...read, withinMs: 600 }));
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(6).fill(200));
    const asked = still.asked.length;
    await Promise.all(Array.from({ length: 6 }, () => replicas.request(read)));
    expect(still.asked.length).toBe(asked);
  });

  test('fail with the reason when nobody is there, told apart from an answer that was lost', async () => {
    const away = await fake();
    await down(away);
    const unsent = await replicasOf([away])
      .request(read)
      .catch((error) => error);
    expect(isUnsent(unsent)).toBe(true);
    const lost = await replicasOf([await fake('breaks')])
      .request(read)
      .catch((error) => error);
    expect(lost).toBeInstanceOf(Error);
    expect(isUnsent(lost)).toBe(false);
  });
});

describe('The replica of a key', () => {
  const urls = [1, 2, 3, 4].map((host) => ({ url: `http://127.0.0.${host}:9` }));
  const keys = Array.from({ length: 400 }, (_, index) => `key ${index}`);

  test('is the same for everybody who asks, and keys are spread', () => {
    const [here, there] = [replicasOf(urls), replicasOf(urls.toReversed())];
    const found = keys.map((key) => here.of(key)[0]?.origin);
    expect(keys.map((key) => there.of(key)[0]?.origin)).toEqual(found);
    for (const { url } of urls) expect(found.filter((each) => each === url).length).toBeGreaterThan(50);
  });

  test('stays the same when another one leaves', () => {
    const [all, fewer] = [replicasOf(urls), replicasOf(urls.slice(1))];
    for (const key of keys) {
      const before = all.of(key)[0]?.origin;
      if (before !== urls[0]?.url) expect(fewer.of(key)[0]?.origin).toBe(before);
    }
  });

  test('is another one while it is away, and the same for commands that gather', async () => {
    const fakes = [await fake(), await fake()];
    const replicas = replicasOf(fakes);
    const call = createReplicaCaller<string, string>({
      replicas,
      path: '/commands',
      key: 'commands',
      answerMsMax: 1_000,
      repeat: 'unsent',
      candidatesFor: (key) => replicas.of(key),
    });
    const [its, other] = replicas.of('this key').map(({ origin }) => fakes.find(({ url }) => url === origin));
    expect(await call('this key')).toBe(its?.url);
    if (its) await down(its);
    expect(await eventually('the other one takes it', () => call('this key'))).toBe(other?.url);
    expect(replicas.of('this key')[0]?.origin).toBe(other?.url);
  });
});

describe('A replica that comes back within a transaction', () => {
  test('is not asked about what was begun meanwhile, and first about what begins afterwards', async () => {
    const fakes = [await fake(), await fake()];
    const replicas = replicasOf(fakes);
    const key = 'this transaction';
    const bornAt = Date.now();
    const originsOf = (since?: number) => replicas.of(key, since).map(({ origin }) => origin);
    const [its = '', other] = originsOf(bornAt);
    const first = fakes.find(({ url }) => url === its);
    if (first) await down(first);
    const ask = () =>
      replicas.inTurn(replicas.of(key, bornAt), 'unsent', async ({ origin, pool }) => {
        await (await pool.request({ method: 'POST', path: '/perform' })).body.dump();
        return origin;
      });
    expect(await ask()).toBe(other);
    await fake('answers', '127.0.0.1', first?.port);
    // Nobody remembers that it was away, but for those who must.
    await eventually('it is the first for its keys again', () => originsOf()[0] === its);
    expect(await ask()).toBe(other);
    expect(originsOf(bornAt)).toEqual([other, its]);
    expect(originsOf(Date.now() + 1)).toEqual([its, other]);
  });
});

describe('Replicas behind one DNS name', () => {
  const url = 'http://replicas.test:9';
  const lookUpEveryMs = 20;
  const originsOf = (replicas: Replicas) => replicas.all().map(({ origin }) => origin);

  test('come and go, and a name server that is away takes nobody with it', async () => {
    let addresses: string[] | Error = ['127.0.0.2', '127.0.0.1', '::1'];
    const addressesOf = async () => {
      if (addresses instanceof Error) throw addresses;
      return addresses;
    };
    const replicas = replicasOf([{ url }], { resolve: true, addressesOf, lookUpEveryMs });
    const all = ['http://127.0.0.1:9', 'http://127.0.0.2:9', 'http://[::1]:9'];
    await eventually('all are found', () => originsOf(replicas).join() === all.join());
    addresses = new Error('no name server');
    await new Promise((resolve) => setTimeout(resolve, 5 * lookUpEveryMs));
    expect(originsOf(replicas)).toEqual(all);
    addresses = ['127.0.0.2', '127.0.0.3'];
    await eventually('one has come', () => originsOf(replicas).includes('http://127.0.0.3:9'));
    expect(originsOf(replicas)).toEqual(['http://127.0.0.2:9', 'http://127.0.0.3:9']);
  });

  test('keep what they began: one that joins later is asked last about it', async () => {
    let addresses = ['127.0.0.1'];
    const addressesOf = async () => addresses;
    const replicas = replicasOf([{ url }], { resolve: true, addressesOf, lookUpEveryMs });
    await eventually('the first one is found', () => originsOf(replicas)[0] === 'http://127.0.0.1:9');
    const bornAt = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 5));
    addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
    await eventually('all are found', () => replicas.all().length === 3);
    const keys = Array.from({ length: 30 }, (_, index) => `key ${index}`);
    for (const key of keys) expect(replicas.of(key, bornAt)[0]?.origin).toBe('http://127.0.0.1:9');
    const later = new Set(keys.map((key) => replicas.of(key, Date.now() + 1_000)[0]?.origin));
    expect(later.size).toBe(3);
  });
});

describe('Commands that gather for a replica that stands still', () => {
  test('go to the others after one bound, and not one batch after another', async () => {
    const [still, there] = [await fake('hangs'), await fake()];
    const replicas = replicasOf([still, there]);
    const boundMs = 400;
    const call = createReplicaCaller<number, string>({
      replicas,
      path: '/it',
      key: 'commands',
      answerMsMax: boundMs,
      candidatesFor: () => replicas.all(),
      repeat: 'unsent',
    });
    const startedMs = Date.now();
    const first = call(0).catch((error: Error) => error.name);
    await eventually('it is under way', () => still.asked.length === 1);
    // One by one, because the fake answers the first command of each request only.
    const second = call(1);
    expect(await first).toBe('TimeoutError');
    expect(await second).toBe(there.url);
    expect(Date.now() - startedMs).toBeLessThan(2 * boundMs);
    expect(still.asked).toHaveLength(1);
  });
});
