/** A broker of a test's own that runs with given users: what it refuses can be tried without harm. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { isOk } from '#lab/nats.ts';
import { findBroker } from '#lab/nats-binary.ts';
import { repository } from '#lab/topology.ts';
import { adminName, brokerUsers, passwordVariable, streamAccount } from '../../infra/nats/users.ts';
import { eventually } from './eventually.ts';
import { ended } from './unsafe-broker.ts';

export type Broker = {
  urlOf(user: string): string;
  /** Without user and password. */
  address: string;
  adminUrl: string;
  [Symbol.asyncDispose](): Promise<void>;
};

export type BrokerVariant = { name: string; binary: string; settings: string };

const ackFormatMin = [2, 14] as const;

/** The lab's broker and those that NATS_SERVERS names, each also with the new form of acknowledgements if it has it. */
export async function brokerVariants(): Promise<BrokerVariant[]> {
  const own = await findBroker({ env: { ...process.env, NATS_URL: undefined }, say: () => {} });
  if (own.kind !== 'binary') throw new Error('no broker to start');
  const named = (process.env.NATS_SERVERS ?? '').split(delimiter).filter((path) => path !== '');
  return [own.path, ...named].flatMap((binary) => {
    const [name = binary, major, minor] =
      /v(\d+)\.(\d+)\S*/.exec(execFileSync(binary, ['--version'], { encoding: 'utf8' })) ?? [];
    const plain = { name: `NATS ${name}`, binary, settings: '' };
    const isNew = Number(major) === ackFormatMin[0] && Number(minor) >= ackFormatMin[1];
    if (!isNew) return [plain];
    const settings = 'feature_flags { js_ack_fc_v2: true }';
    return [plain, { ...plain, name: `${plain.name} with the new acknowledgements`, settings }];
  });
}

/** A file of users as it is generated. */
export const usersOf = (file: 'users.conf' | 'users-faults.conf'): string =>
  readFileSync(join(repository, 'infra/nats', file), 'utf8');

/** The same with one more subject imported by an account, which no row gives its user. */
export function alsoImporting(users: string, account: string, subject: string): string {
  const shared = `{ service: { account: ${streamAccount}, subject: ${JSON.stringify(subject)} } }`;
  const exported = `{ service: ${JSON.stringify(subject)}, accounts: [${account}] }`;
  return users
    .replace(new RegExp(`^  ${account} \\{[^]*?imports: \\[`, 'm'), `$&\n      ${shared}`)
    .replace('exports: [', `$&\n      ${exported}`);
}

export async function startBroker(
  binary: string,
  users: string,
  port: number,
  settings = '',
): Promise<Broker> {
  const home = mkdtempSync(join(tmpdir(), 'saga-broker-'));
  const file = join(home, 'nats.conf');
  const passwords = new Map(brokerUsers.map(({ name }) => [name, `p${randomBytes(9).toString('hex')}`]));
  writeFileSync(join(home, 'users.conf'), users);
  writeFileSync(
    file,
    [
      `listen: "127.0.0.1:${port}"`,
      `http: "127.0.0.1:${port + 1}"`,
      `jetstream { store_dir: ${JSON.stringify(join(home, 'store'))} }`,
      'include "users.conf"',
      settings,
    ].join('\n'),
  );
  const variables = [...passwords].map(([user, password]) => [passwordVariable(user), password]);
  const log = join(home, 'nats.log');
  const child = spawn(binary, ['--config', file, '--log', log], {
    stdio: 'ignore',
    env: Object.fromEntries(variables),
  });
  const stop = async () => {
    await ended(child, 'SIGKILL');
    rmSync(home, { recursive: true, force: true });
  };
  try {
    await eventually('the broker answers', () => {
      if (child.exitCode !== null) throw new Error(readFileSync(log, 'utf8'));
      return isOk(`http://127.0.0.1:${port + 1}/healthz`);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  const address = `127.0.0.1:${port}`;
  const urlOf = (user: string) => `nats://${user}:${passwords.get(user)}@${address}`;
  return { urlOf, address, adminUrl: urlOf(adminName), [Symbol.asyncDispose]: stop };
}
