/** Whether everything that a manifest names is there: Secrets and their keys, Services, ports, labels, targets. */
import type { IScheduledBackup } from '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1';
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import type { IDeployment, IStatefulSet } from 'kubernetes-models/apps/v1';
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import type { IJob } from 'kubernetes-models/batch/v1';
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1';
import type { IContainer, IPodSpec, IService } from 'kubernetes-models/v1';
import { eventStream } from '#libs/nats/streams.ts';
import { allSecrets } from '../../infra/kubernetes/secrets.ts';
import consumers from '../../infra/nats/consumers.json' with { type: 'json' };
import { streamAccount } from '../../infra/nats/users.ts';
import { type Manifest, ofKind } from './manifests.ts';

type Flaws = (manifests: readonly Manifest[]) => string[];

/** What the operator of the databases puts beside each of them. */
const operatorKeys = { app: ['username', 'password', 'uri'], ca: ['ca.crt'] };
/** Made by hand, as the README says: the keys of the object store. */
const byHand = { 'backup-store': ['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'] };

type Pod = { owner: string; labels: Record<string, string>; spec: IPodSpec };

export function podsOf(manifests: readonly Manifest[]): Pod[] {
  const owners = [
    ...ofKind<IDeployment>(manifests, 'Deployment'),
    ...ofKind<IStatefulSet>(manifests, 'StatefulSet'),
    ...ofKind<IJob>(manifests, 'Job'),
  ];
  return owners.flatMap(({ metadata, spec }) => {
    const { template } = spec as { template: { metadata?: { labels?: object }; spec?: IPodSpec } };
    if (!template.spec) return [];
    return [{ owner: metadata.name, labels: { ...template.metadata?.labels }, spec: template.spec }];
  });
}

function secretKeys(manifests: readonly Manifest[]): Map<string, readonly string[]> {
  const ours = allSecrets().map(({ metadata, stringData }): [string, string[]] => [
    metadata.name,
    Object.keys(stringData),
  ]);
  const operators = ofKind(manifests, 'Cluster').flatMap(({ metadata }) =>
    Object.entries(operatorKeys).map(([suffix, keys]): [string, string[]] => [
      `${metadata.name}-${suffix}`,
      keys,
    ]),
  );
  return new Map([...ours, ...operators, ...Object.entries(byHand)]);
}

/** Every Secret that is named anywhere, with the key, whatever the kind of the manifest is. */
export const secretFlaws: Flaws = (manifests) => {
  const keys = secretKeys(manifests);
  const named = manifests.flatMap((manifest) =>
    secretsNamed(manifest).map(({ name, key }) => ({
      by: `${manifest.kind} ${manifest.metadata.name}`,
      name,
      key,
    })),
  );
  return named.flatMap(({ by, name, key }) => {
    const known = keys.get(name);
    if (!known) return [`${by}: there is no Secret ${name}`];
    return key === undefined || known.includes(key) ? [] : [`${by}: Secret ${name} has no key ${key}`];
  });
};

type SecretName = { name: string; key?: string };
const secretFields = ['secretKeyRef', 'accessKeyId', 'secretAccessKey', 'passwordSecret'];

function secretsNamed(value: unknown, field = ''): SecretName[] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((item) => secretsNamed(item));
  const object = value as Record<string, unknown> & { name?: string; secretName?: string; key?: string };
  const items = (object.items as { key: string }[] | undefined) ?? [];
  if (secretFields.includes(field))
    return [{ name: object.name ?? '', ...(object.key ? { key: object.key } : {}) }];
  if (field === 'secret') {
    const name = object.secretName ?? object.name ?? '';
    return items.length === 0 ? [{ name }] : items.map(({ key }) => ({ name, key }));
  }
  return Object.entries(object).flatMap(([key, inner]) => secretsNamed(inner, key));
}

/** Every host and port in an environment, and every `$(NAME)`, which must stand before. */
export const addressFlaws: Flaws = (manifests) => {
  const services = new Set(
    ofKind<IService>(manifests, 'Service').flatMap(({ metadata, spec }) =>
      (spec?.ports ?? []).map(({ port }) => `${metadata.name}:${port}`),
    ),
  );
  for (const { metadata } of ofKind(manifests, 'Cluster')) services.add(`${metadata.name}-rw:5432`);
  // The chart's, for a release called `nats`.
  for (const node of ['nats-0', 'nats-1', 'nats-2']) services.add(`${node}.nats-headless:8222`);
  services.add('nats:4222');
  return podsOf(manifests).flatMap(({ owner, spec }) =>
    spec.containers.flatMap(({ env = [] }) =>
      env.flatMap(({ name, value = '' }, index) => {
        const before = env.slice(0, index).map((variable) => variable.name);
        const missing = [...value.matchAll(/\$\((\w+)\)/g)].filter(([, used = '']) => !before.includes(used));
        const hosts = [...value.matchAll(/\w+:\/\/(?:[^@/,]*@)?([\w.-]+:\d+)/g)].map(([, host = '']) => host);
        const outside = hosts.filter((host) => !services.has(host) && !host.includes('.observability:'));
        return [
          ...missing.map(([, used]) => `${owner}: ${name} uses ${used}, which does not stand before it`),
          ...outside.map((host) => `${owner}: ${name} names ${host}, which is no Service`),
        ];
      }),
    ),
  );
};

const covers = (selector: object | undefined, labels: Record<string, string>): boolean =>
  Object.entries(selector ?? { nothing: '' }).every(([key, value]) => labels[key] === value);

export const selectorFlaws: Flaws = (manifests) => {
  const pods = podsOf(manifests);
  const selecting = [
    ...ofKind<IService>(manifests, 'Service').map(({ metadata, spec }) => ({
      by: `Service ${metadata.name}`,
      selector: spec?.selector,
      ports: (spec?.ports ?? []).map(({ targetPort }) => targetPort),
    })),
    ...ofKind<IPodDisruptionBudget>(manifests, 'PodDisruptionBudget').map(({ metadata, spec }) => ({
      by: `PodDisruptionBudget ${metadata.name}`,
      selector: spec?.selector?.matchLabels,
      ports: [],
    })),
    ...ofKind<IDeployment>(manifests, 'Deployment').map(({ metadata, spec }) => ({
      by: `Deployment ${metadata.name}`,
      selector: spec?.selector.matchLabels,
      ports: [],
    })),
  ];
  return selecting.flatMap(({ by, selector, ports }) => {
    const chosen = pods.filter(({ labels }) => covers(selector, labels));
    if (chosen.length !== 1) return [`${by}: selects ${chosen.length} kinds of pods`];
    const open = chosen.flatMap(({ spec }) => spec.containers.flatMap(portNames));
    return ports
      .filter((port) => !open.includes(String(port)))
      .map((port) => `${by}: nobody has the port ${port}`);
  });
};

const portNames = ({ ports = [] }: IContainer): string[] => ports.map(({ name }) => name ?? '');

/** Every replica has a target, every consumer somebody who reads it, every backup a database. */
export const targetFlaws: Flaws = (manifests) => {
  const deployments = ofKind(manifests, 'Deployment').map(({ metadata }) => metadata.name);
  const clusters = ofKind(manifests, 'Cluster').map(({ metadata }) => metadata.name);
  const scaled = ofKind<IScaledObject>(manifests, 'ScaledObject');
  const targets = [
    ...scaled.map(({ metadata, spec }) => [metadata.name, spec.scaleTargetRef.name]),
    ...ofKind<IHorizontalPodAutoscaler>(manifests, 'HorizontalPodAutoscaler').map(({ metadata, spec }) => [
      metadata.name,
      spec?.scaleTargetRef.name,
    ]),
  ];
  const backups = ofKind<IScheduledBackup>(manifests, 'ScheduledBackup');
  const twice = deployments.filter((name) => targets.filter(([, target]) => target === name).length > 1);
  return [
    ...targets.filter(([, to]) => !deployments.includes(to ?? '')).map(([by, to]) => `${by} scales ${to}`),
    ...twice.map((name) => `${name} is scaled by two`),
    ...scaled.flatMap(lagFlaws),
    ...backups
      .filter(({ spec }) => !clusters.includes(spec.cluster.name ?? ''))
      .map(({ metadata, spec }) => `${metadata.name} backs up ${spec.cluster.name}`),
  ];
};

function lagFlaws({ metadata, spec }: Manifest & IScaledObject): string[] {
  const lag = spec.triggers.find(({ type }) => type === 'nats-jetstream')?.metadata ?? {};
  const { account, stream, consumer = '' } = lag as Record<string, string>;
  return [
    ...(account === streamAccount
      ? []
      : [`${metadata.name}: the account is ${streamAccount}, not ${account}`]),
    ...(stream === eventStream ? [] : [`${metadata.name}: the stream is ${eventStream}, not ${stream}`]),
    ...(consumer in consumers && consumer === spec.scaleTargetRef.name
      ? []
      : [`${metadata.name}: ${consumer} is not the consumer of ${spec.scaleTargetRef.name}`]),
  ];
}
