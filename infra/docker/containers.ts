/**
 * What the containers of docker-compose.yml are called, who they run as and what each of them is told that
 * nobody else may know. A user per container: the files of all lie in one volume, and each opens its own only.
 */
import type { Passwords } from '../lab/postgres-roles.ts';
import { adminName, brokerUsers, passwordVariable } from '../nats/users.ts';

/** One PostgreSQL server each; the service of that name owns what is in it. */
export const databases = [
  'order',
  'payment',
  'inventory',
  'logistics',
  'notification',
  'coordinator',
] as const;
export type Database = (typeof databases)[number];

/** Participants and gateway: who lets an operator do more, when that is switched on. */
const admins = ['order', 'payment', 'inventory', 'logistics', 'notification', 'gateway'] as const;

/** The same numbers stand in docker-compose.yml; a test compares. */
export const userIds = {
  order: 10_001,
  payment: 10_002,
  inventory: 10_003,
  logistics: 10_004,
  notification: 10_005,
  coordinator: 10_006,
  gateway: 10_007,
  provision: 10_008,
  nats: 10_009,
  keeper: 10_017,
} as const;

/**
 * PostgreSQL's image runs as its own user whatever the server: the group tells one server from another, and the
 * file is open to that group.
 */
export const databaseGroupIds: Record<Database, number> = {
  order: 10_011,
  payment: 10_012,
  inventory: 10_013,
  logistics: 10_014,
  notification: 10_015,
  coordinator: 10_016,
};

export type Secrets = {
  /** Of PostgreSQL's superuser, per server: for provisioning and for nobody else. */
  superusers: Record<Database, string>;
  roles: Record<Database, string>;
  auditor: string;
  /** Of every user of infra/nats/users.ts. */
  broker: Record<string, string>;
  adminToken: string;
};

/** What provisioning is given. */
export type Provisioning = {
  databases: { name: Database; adminUrl: string }[];
  passwords: Passwords;
};

export type SecretFile = {
  /** `<container>/<name>`, below the volume. */
  path: string;
  content: string;
  /** Who alone may read it: a user, or a group of a database server. */
  userId?: number;
  groupId?: number;
};

/** Every file of the volume. `admin`: whether operators' endpoints are on; off, the token's files are empty. */
export function secretFiles(secrets: Secrets, natsConfiguration: string, admin: boolean): SecretFile[] {
  const own = (container: keyof typeof userIds, name: string, content: string): SecretFile => {
    return { path: `${container}/${name}`, content, userId: userIds[container] };
  };
  const natsUrl = (user: string) => `nats://${user}:${secrets.broker[user]}@nats:4222`;
  const token = admin ? secrets.adminToken : '';
  return [
    ...databases.flatMap((name) => [
      own(name, 'database-url', databaseUrl(name, name, secrets.roles[name])),
      own(name, 'nats-url', natsUrl(name)),
      own('gateway', `${name}-audit-url`, databaseUrl(name, 'auditor', secrets.auditor)),
      {
        path: `${name}-db/superuser-password`,
        content: secrets.superusers[name],
        groupId: databaseGroupIds[name],
      },
    ]),
    ...admins.map((name) => own(name, 'admin-token', token)),
    own('gateway', 'nats-url', natsUrl('gateway')),
    own('provision', 'databases.json', JSON.stringify(provisioning(secrets))),
    own('provision', 'nats-url', natsUrl(adminName)),
    own('keeper', 'nats-url', natsUrl(adminName)),
    own('nats', 'nats.conf', brokerPasswords(secrets) + natsConfiguration),
  ];
}

/** NATS looks a `$NAME` up in the file that it stands in, so the passwords are written above the users. */
function brokerPasswords({ broker }: Secrets): string {
  const lines = brokerUsers.map(({ name }) => `${passwordVariable(name)}: "${broker[name]}"`);
  return `${lines.join('\n')}\n`;
}

function provisioning({ superusers, auditor, roles }: Secrets): Provisioning {
  return {
    databases: databases.map((name) => {
      const adminUrl = `postgres://postgres:${superusers[name]}@${name}-db:5432/postgres`;
      return { name, adminUrl };
    }),
    passwords: { superuser: '', auditor, roles, broker: {} },
  };
}

const databaseUrl = (name: Database, role: string, password: string): string =>
  `postgres://${role}:${password}@${name}-db:5432/${name}`;
