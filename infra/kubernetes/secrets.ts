/**
 * Prints all Secrets that the manifests refer to and no operator makes, with new random passwords, as a list for
 * `kubectl create -f -`, which refuses those that are there already. Nothing is written to any file.
 * `node infra/kubernetes/secrets.ts nats` prints the broker's alone: to be applied when they are rotated.
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

/** Of the broker: one password per user for its client, and all of them for the nodes. */
export function brokerSecrets(): Secret[] {
  const passwords = brokerUsers.map(({ name }): [string, string] => [name, random()]);
  const variables = passwords.map(([user, password]) => `${passwordVariable(user)}: "${password}"`);
  const users = readFileSync(new URL('../nats/users.conf', import.meta.url), 'utf8');
  return [
    secret('nats-passwords', 'Opaque', Object.fromEntries(passwords)),
    secret('nats-config', 'Opaque', {
      'users.conf': `${variables.join('\n')}\n${users}`,
      'cluster.conf': clusterConfiguration(random()),
    }),
  ];
}

export function otherSecrets(): Secret[] {
  const auditors = labTopology.databases.map(({ name }) => ({
    ...secret(`${name}-db-auditor`, 'kubernetes.io/basic-auth', { username: 'auditor', password: random() }),
  }));
  // The operator of the databases reads a password again when its Secret changes, if it is told to watch it.
  for (const { metadata } of auditors) metadata.labels = { 'cnpg.io/reload': 'true' };
  return [secret('admin-token', 'Opaque', { token: random() }), ...auditors];
}

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
  const items = process.argv[2] === 'nats' ? brokerSecrets() : [...otherSecrets(), ...brokerSecrets()];
  process.stdout.write(`${JSON.stringify({ apiVersion: 'v1', kind: 'List', items }, null, 2)}\n`);
}
