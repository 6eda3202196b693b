/**
 * Prints all Secrets that the manifests refer to and no operator makes, with new random passwords, as a list for
 * `kubectl create -f -`, which refuses those that are there already. Nothing is written to any file.
 * `node infra/kubernetes/secrets.ts nats` prints those of the broker's users alone, and `nats-routes` the one that its
 * nodes know each other by: to be replaced when they are rotated, each by itself (docs/operations.md).
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { labTopology } from '#lab/topology.ts';
import { brokerUsers, passwordVariable } from '../nats/users.ts';

export type Secret = {
  apiVersion: 'v1';
  kind: 'Secret';
  type: string;
  metadata: { name: string; namespace: string; labels?: Record<string, string> };
  stringData: Record<string, string>;
};

const namespace = 'saga-lab';
const brokerNodes = ['nats-0', 'nats-1', 'nats-2'];

/** Of the broker's users: one password each for its client, and all of them for the nodes. */
export function brokerSecrets(): Secret[] {
  const passwords = brokerUsers.map(({ name }): [string, string] => [name, random()]);
  const variables = passwords.map(([user, password]) => `${passwordVariable(user)}: "${password}"`);
  const users = readFileSync(new URL('../nats/users.conf', import.meta.url), 'utf8');
  return [
    secret('nats-passwords', 'Opaque', Object.fromEntries(passwords)),
    secret('nats-users', 'Opaque', { 'users.conf': `${variables.join('\n')}\n${users}` }),
  ];
}

/** A Secret of its own: nodes with two passwords do not talk to each other, and users change more often than nodes. */
export const routeSecrets = (): Secret[] => [
  secret('nats-routes', 'Opaque', { 'cluster.conf': clusterConfiguration(random()) }),
];

function otherSecrets(): Secret[] {
  const auditors = labTopology.databases.map(({ name }) => ({
    ...secret(`${name}-db-auditor`, 'kubernetes.io/basic-auth', { username: 'auditor', password: random() }),
  }));
  // The operator of the databases reads a password again when its Secret changes, if it is told to watch it.
  for (const { metadata } of auditors) metadata.labels = { 'cnpg.io/reload': 'true' };
  return [secret('admin-token', 'Opaque', { token: random() }), ...auditors];
}

export const allSecrets = (): Secret[] => [...otherSecrets(), ...brokerSecrets(), ...routeSecrets()];

const clusterConfiguration = (password: string): string => `authorization {
  user: route, password: "${password}", timeout: 2
}
routes: [
${brokerNodes.map((node) => `  "nats-route://route:${password}@${node}.nats-headless:6222"`).join('\n')}
]
`;

function secret(name: string, type: string, stringData: Record<string, string>): Secret {
  return { apiVersion: 'v1', kind: 'Secret', type, metadata: { name, namespace }, stringData };
}

/** Hexadecimal, so that it stands in a URL as it is; the letter keeps the broker from reading a number. */
const random = (): string => `p${randomBytes(24).toString('hex')}`;

if (import.meta.main) {
  const [which = 'all'] = process.argv.slice(2);
  const make = { all: allSecrets, nats: brokerSecrets, 'nats-routes': routeSecrets }[which];
  if (!make)
    throw new Error(`there are no Secrets called ${which}: leave it out, or say nats or nats-routes`);
  process.stdout.write(`${JSON.stringify({ apiVersion: 'v1', kind: 'List', items: make() }, null, 2)}\n`);
}
