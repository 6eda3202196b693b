/** The commands of two-phase commit, against a gateway that answers by rule: no lab is started. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeAdminToken } from '#lab/admin-token.ts';
import { main } from '#lab/cli.ts';
import { writeState } from '#lab/home.ts';
import { identify } from '#lab/process-table.ts';
import { gidOf, type InDoubtItem } from '#libs/contracts/two-phase.ts';

const home = mkdtempSync(join(tmpdir(), 'saga-two-phase-'));
const transactionId = '01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c11';
const gid = gidOf(transactionId, 'inventory');
const item: InDoubtItem = {
  gid,
  transactionId,
  service: 'inventory',
  orderIds: ['01996f7e-4c5b-7d31-a8a2-4f0a5a2b7c12'],
  preparedAt: '2026-01-01T00:00:00.000Z',
  ageMs: 2_300,
  locks: [{ table: 'stock', modes: ['RowExclusiveLock'] }],
  waiting: [
    { pid: 41, who: 'inventory', waitingMs: 1_200, behind: [gid], statement: 'select *\n   from stock' },
  ],
};

type Answer = { status: number; body: unknown };
const asked: { path: string; authorization: string | undefined; body: unknown }[] = [];
let answer: Answer = { status: 200, body: {} };
const gateway = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const body = text === '' ? null : JSON.parse(text);
  asked.push({ path: request.url ?? '', authorization: request.headers.authorization, body });
  response.writeHead(answer.status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer.body));
});
let token = '';

beforeAll(async () => {
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
  const { port } = gateway.address() as AddressInfo;
  mkdirSync(home, { recursive: true });
  token = makeAdminToken(home);
  const launcher = identify(process.pid);
  if (!launcher) throw new Error('this process is not in the process table');
  const nats = { url: '', monitorUrl: '' };
  const url = `http://127.0.0.1:${port}`;
  const addresses = { url, urls: [url], home, databases: {}, nats, jaegerUrl: null };
  writeState({ ...addresses, launcher, startedAt: '', parts: {}, control: '' });
});
beforeEach(() => {
  asked.length = 0;
});
afterAll(() => {
  gateway.close();
  rmSync(home, { recursive: true, force: true });
});

async function run(given: Answer, ...args: string[]): Promise<{ status: number; out: string; err: string }> {
  answer = given;
  const lines: Record<'out' | 'err', string[]> = { out: [], err: [] };
  const status = await main([...args, '--home', home], {
    out: (line) => void lines.out.push(line),
    err: (line) => void lines.err.push(line),
  });
  return { status, out: lines.out.join('\n'), err: lines.err.join('\n') };
}

describe('lab in-doubt', () => {
  test('shows by database what is prepared, which order it is, its locks and who waits behind what', async () => {
    const body = { items: [item], nextCursor: null, missing: ['payment'] };
    const { status, out, err } = await run({ status: 200, body }, 'in-doubt');
    expect(status).toBe(0);
    expect(out).toContain('inventory: 1 in doubt');
    expect(out).toContain(`prepared 2.3 s ago; order ${item.orderIds[0]}`);
    expect(out).toContain('locks: stock (RowExclusiveLock)');
    expect(out).toContain(`inventory (pid 41) waits 1.2 s behind ${gid}: select * from stock`);
    expect(err).toBe('could not be asked: payment');
    expect(JSON.parse((await run({ status: 200, body }, 'in-doubt', '--json')).out)).toEqual({
      items: [item],
      missing: ['payment'],
    });
  });

  test('asks the coordinator to resolve, without the token', async () => {
    const body = { gid, decision: 'commit', by: 'coordinator' };
    const { status, out } = await run({ status: 200, body }, 'in-doubt', 'resolve', gid);
    expect({ status, out }).toEqual({ status: 0, out: `${gid}: commit, as decided by the coordinator` });
    expect(asked).toMatchObject([{ authorization: undefined, body: {} }]);
    expect(decodeURIComponent(asked[0]?.path ?? '')).toBe(`/api/in-doubt/${gid}/resolve`);
  });

  test('forces with the token, and only when the gid is typed again', async () => {
    const given = { status: 200, body: { gid, decision: 'abort', by: 'operator' } };
    const force = ['in-doubt', 'resolve', gid, '--heuristic', 'abort'];
    expect(await run(given, ...force)).toMatchObject({
      status: 2,
      err: expect.stringContaining(`--confirm ${gid}`),
    });
    expect(asked).toEqual([]);
    expect((await run(given, ...force, '--confirm', gid)).out).toBe(`${gid}: abort, forced by the operator`);
    expect(asked).toMatchObject([
      { authorization: `Bearer ${token}`, body: { heuristic: 'abort', confirm: gid } },
    ]);
  });

  test.each([
    ['an action that is none', ['end', gid]],
    ['no gid', ['resolve']],
    ['a decision that is none', ['resolve', gid, '--heuristic', 'maybe', '--confirm', gid]],
    ['force without resolve', ['--heuristic', 'abort']],
  ])('refuses %s', async (_, args) => {
    expect((await run({ status: 500, body: {} }, 'in-doubt', ...args)).status).toBe(2);
    expect(asked).toEqual([]);
  });
});

describe('lab order --protocol 2pc', () => {
  const problem = (code: string, status: number) => ({
    status,
    body: { type: `/problems/${code}`, title: 'A title', status, code, detail: 'ravi has 0' },
  });

  test('sends the protocol and its mode, and neither for a saga', async () => {
    const body = { orderId: transactionId, status: 'DISPATCHED', reason: null, total: 12_000, traceId: 'a' };
    const { status, out } = await run(
      { status: 201, body },
      'order',
      '--protocol',
      '2pc',
      '--mode',
      'grouped',
    );
    expect({ status, body: asked[0]?.body }).toMatchObject({
      status: 0,
      body: { protocol: '2pc', twoPhase: 'grouped' },
    });
    expect(out).toMatch(/^status {2}DISPATCHED$/m);
    await run({ status: 201, body }, 'order');
    expect(asked[1]?.body).not.toHaveProperty('protocol');
    expect((await run({ status: 201, body }, 'order', '--mode', 'grouped')).status).toBe(2);
  });

  test('tells a refusal as the end of the story', async () => {
    const refused = problem('order-refused-by-participant', 409);
    const { status, out } = await run(refused, 'order', '--protocol', '2pc');
    expect({ status, out }).toEqual({
      status: 0,
      out: 'status  REFUSED: nothing has happened\nreason  ravi has 0',
    });
    const json = await run(refused, 'order', '--protocol', '2pc', '--json');
    expect(JSON.parse(json.out)).toMatchObject({ status: 'REFUSED', reason: 'ravi has 0' });
  });

  test('tells what was given up as an error', async () => {
    const { status, err } = await run(problem('transaction-aborted', 503), 'order', '--protocol', '2pc');
    expect({ status, err }).toEqual({ status: 1, err: 'A title: ravi has 0 (503 transaction-aborted)' });
  });
});

describe('lab scenario and bench', () => {
  test.each([
    ['scenario', 'deadlok', 'Did you mean deadlock?'],
    ['scenario', 'flood', 'There are: in-doubt, deadlock'],
    ['bench', '3pc', "'3pc' cannot be measured; there are: saga, 2pc, 2pc-grouped, 2pc-unordered"],
  ])('%s %s is refused', async (command, name, text) => {
    expect(await run({ status: 500, body: {} }, command, name)).toMatchObject({
      status: 2,
      err: expect.stringContaining(text),
    });
  });
});
