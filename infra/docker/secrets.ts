/**
 * Runs once at every start of the containers, before all others: makes the passwords that are missing and gives
 * each container the files that are its own. It runs as root, because only root may give a file away, with no
 * other privilege and without a network. `--rotate` makes new passwords for all but PostgreSQL's superusers.
 */
import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { brokerUsers } from '../nats/users.ts';
import { databases, type SecretFile, type Secrets, secretFiles, userIds } from './containers.ts';

const volume = '/run/secrets';
const natsData = '/data';
const infra = join(import.meta.dirname, '..');
const kept = join(volume, 'kept', 'secrets.json');
const isOn = (name: string): boolean => process.env[name] === 'on';

const before = readKept();
const secrets = complete(process.argv.includes('--rotate') ? { superusers: before.superusers } : before);
writeFile({ path: 'kept/secrets.json', content: JSON.stringify(secrets), userId: 0 });
const files = secretFiles(secrets, natsConfiguration(), isOn('ADMIN') || isOn('FAULTS'));
for (const file of files) writeFile(file);
chownSync(natsData, userIds.nats, userIds.nats);
process.stdout.write(`secrets: ${files.length} files, each for one container\n`);

type Partly<T> = { [Key in keyof T]?: (T[Key] extends string ? T[Key] : Partial<T[Key]>) | undefined };

/** What is there stays: a password that changed by itself would lock everybody out. */
function complete(partly: Partly<Secrets>): Secrets {
  const each = <Name extends string>(names: readonly Name[], known: Partial<Record<Name, string>> = {}) =>
    Object.fromEntries(names.map((name) => [name, known[name] ?? random()])) as Record<Name, string>;
  return {
    superusers: each(databases, partly.superusers),
    roles: each(databases, partly.roles),
    auditor: partly.auditor ?? random(),
    broker: each(
      brokerUsers.map(({ name }) => name),
      partly.broker,
    ),
    adminToken: partly.adminToken ?? random(),
  };
}

/** Hexadecimal, so that it stands in a URL as it is; the letter keeps the broker from reading a number. */
function random(): string {
  return `p${randomBytes(24).toString('hex')}`;
}

function readKept(): Partly<Secrets> {
  try {
    return JSON.parse(readFileSync(kept, 'utf8')) as Secrets;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** Under another name first: nobody ever reads half a file, or one that is still root's. */
function writeFile({ path, content, userId = 0, groupId }: SecretFile): void {
  const target = join(volume, path);
  const draft = `${target}.new`;
  mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
  rmSync(draft, { force: true });
  writeFileSync(draft, content, { mode: groupId === undefined ? 0o400 : 0o440 });
  chownSync(draft, userId, groupId ?? userId);
  renameSync(draft, target);
}

/** With faults on, services may also count hits in the bucket of faults. */
function natsConfiguration(): string {
  const users = isOn('FAULTS') ? 'users-faults.conf' : 'users.conf';
  return [join(infra, 'docker/nats.conf'), join(infra, 'nats', users)]
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
}
