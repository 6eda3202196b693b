import type { ICluster } from '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1';
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import type { IDeployment } from 'kubernetes-models/apps/v1';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import type { IContainer, IService } from 'kubernetes-models/v1';
import { describe, expect, test, vi } from 'vitest';
import { gatewayConfig } from '#services/console/config.ts';
import { allSecrets, brokerSecrets } from '../../infra/kubernetes/secrets.ts';
import { environmentFlaws, environmentOf } from './environment.ts';
import { limitFlaws } from './limits.ts';
import { build, kustomize, type Manifest, named, plainFiles } from './manifests.ts';
import { networkFlaws } from './network.ts';
import { addressFlaws, secretFlaws, selectorFlaws, targetFlaws } from './references.ts';
import { schemaFlaws, withoutSchema } from './schemas.ts';

/** The compiler reads all types of Kubernetes: a second alone, and many beside other tests. */
const compileMsMax = 60_000;
vi.setConfig({ testTimeout: compileMsMax });

const ways = ['base', 'overlays/trial', 'overlays/production'];
const needed = 'needs kustomize on the PATH or in the cache, or kubectl';
const by = kustomize ? `by ${kustomize.name}` : `(not run: ${needed})`;
if (!kustomize)
  console.warn(`The files are checked one by one, and what Kustomize makes of them is not: that ${needed}.`);
const built = describe.skipIf(!kustomize);

const container = (manifests: Manifest[], service: string): IContainer => {
  const first = named<IDeployment>(manifests, 'Deployment', service).spec?.template.spec?.containers[0];
  if (!first) throw new Error(`${service} has no container`);
  return first;
};

describe('Every file', () => {
  test.each(plainFiles())('$file fits the schemas', ({ manifests }) => {
    expect(manifests.length).toBeGreaterThan(0);
    const patches = manifests.filter(({ metadata }) => metadata.name === 'every');
    expect(schemaFlaws(manifests.filter((manifest) => !patches.includes(manifest)))).toEqual([]);
  });

  test('with secrets fits as well, and no two runs make the same ones', () => {
    const secrets = allSecrets();
    expect(schemaFlaws(secrets)).toEqual([]);
    expect(secrets).toHaveLength(new Set(secrets.map(({ metadata }) => metadata.name)).size);
    expect(brokerSecrets()[0]?.stringData).not.toEqual(brokerSecrets()[0]?.stringData);
  });
});

built.each(ways)(`%s, built ${by}`, (way) => {
  test('fits the schemas', () => {
    const manifests = build(way);
    expect(manifests.length).toBeGreaterThan(30);
    expect(schemaFlaws(manifests)).toEqual([]);
    const unchecked = manifests.filter(({ apiVersion, kind }) =>
      withoutSchema.includes(`${apiVersion}/${kind}`),
    );
    expect(unchecked.length).toBe(way === 'overlays/production' ? 1 : 0);
  });

  test('names nothing that is not there', () => {
    const manifests = build(way);
    const checks = [secretFlaws, addressFlaws, selectorFlaws, targetFlaws];
    expect(checks.flatMap((check) => check(manifests))).toEqual([]);
  });

  test('gives every service an environment that it accepts, and no address that it need not know', () => {
    expect(environmentFlaws(build(way))).toEqual([]);
  });

  test('has room, and memory, for as many replicas as may be started', () => {
    expect(limitFlaws(build(way))).toEqual([]);
  });

  test('holds no secret', () => {
    const manifests = build(way);
    expect(manifests.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    expect(JSON.stringify(manifests)).not.toMatch(/:\/\/[^/@"]*:(?!\$\()[^/@"]+@/);
  });
});

built(`The gateway of production, built ${by},`, () => {
  test('trusts no proxy until somebody says which, in a variable that it reads', () => {
    const environment = environmentOf(build('overlays/production'), 'gateway');
    expect(Object.keys(environment)).toContain('TRUSTED_PROXIES');
    expect(gatewayConfig.parse(environment).TRUSTED_PROXIES).toEqual([]);
  });
});

built(`The network, built ${by},`, () => {
  // With monitoring and tracing come edges of their own, which are theirs to test.
  test.each(['base', 'overlays/trial'])('of %s has exactly the edges of the topology', (way) => {
    expect(networkFlaws(build(way))).toEqual([]);
  });

  test('of production has them all, and lets no stranger in', () => {
    const flaws = networkFlaws(build('overlays/production'));
    expect(flaws.filter((flaw) => flaw.startsWith('not allowed'))).toEqual([]);
    expect(flaws.filter((flaw) => flaw.includes('stranger →'))).toEqual([]);
  });
});

built(`In what is built ${by} a defect is found:`, () => {
  const manifests = () => build('base');

  test('a field that does not exist, and a value of the wrong kind', () => {
    const planted = manifests();
    Object.assign(container(planted, 'order'), { imge: 'x' });
    Object.assign(named<ICluster>(planted, 'Cluster', 'order-db').spec, { instances: 'three' });
    Object.assign(named<IScaledObject>(planted, 'ScaledObject', 'payment').spec, { maxReplicas: 3 });
    const flaws = schemaFlaws(planted).join('\n');
    expect(flaws).toContain(
      `Deployment order: Object literal may only specify known properties, and '"imge"'`,
    );
    expect(flaws).toContain('Cluster order-db: data/spec/instances must be integer');
    expect(flaws).toContain(
      `ScaledObject payment: Object literal may only specify known properties, and '"maxR`,
    );
  });

  test('a kind that no schema is there for', () => {
    const foreign = { apiVersion: 'example.org/v1', kind: 'Thing', metadata: { name: 'x' } };
    expect(schemaFlaws([foreign])).toEqual(['Thing x: example.org/v1 has no schema here']);
  });

  test('a Secret, or a key of one, that nobody makes', () => {
    const planted = manifests();
    const env = container(planted, 'order').env ?? [];
    const references = env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []);
    Object.assign(references[0] ?? {}, { name: 'order-db' });
    Object.assign(references[1] ?? {}, { key: 'orders' });
    expect(secretFlaws(planted)).toEqual([
      'Deployment order: there is no Secret order-db',
      'Deployment order: Secret nats-passwords has no key orders',
    ]);
  });

  test('an address of nobody, and a variable that comes too late', () => {
    const planted = manifests();
    const { env = [] } = container(planted, 'order');
    Object.assign(env.find(({ name }) => name === 'COORDINATOR_URL') ?? {}, {
      value: 'http://coordinater:8080',
    });
    env.reverse();
    const flaws = addressFlaws(planted);
    expect(flaws).toContain('order: COORDINATOR_URL names coordinater:8080, which is no Service');
    expect(flaws).toContain('order: NATS_URL uses NATS_PASSWORD, which does not stand before it');
  });

  test('a Service that selects nobody, or a port that nobody has', () => {
    const planted = manifests();
    const service = named<IService>(planted, 'Service', 'order').spec;
    Object.assign(service?.ports?.[0] ?? {}, { targetPort: 'https' });
    Object.assign(named<IService>(planted, 'Service', 'payment').spec?.selector ?? {}, { tier: 'x' });
    expect(selectorFlaws(planted)).toEqual([
      'Service order: nobody has the port https',
      'Service payment: selects 0 kinds of pods',
    ]);
  });

  test('an autoscaler without a target, of another consumer, stream or account', () => {
    const planted = manifests();
    const { spec } = named<IScaledObject>(planted, 'ScaledObject', 'order');
    Object.assign(spec.triggers[0]?.metadata ?? {}, {
      account: '$G',
      consumer: 'payment',
      stream: 'EVENT',
    });
    Object.assign(named<IScaledObject>(planted, 'ScaledObject', 'logistics').spec.scaleTargetRef, {
      name: 'x',
    });
    expect(targetFlaws(planted)).toEqual([
      'logistics scales x',
      'logistics: logistics is not the consumer of x',
      'order: the account is DATA, not $G',
      'order: the stream is EVENTS, not EVENT',
      'order: payment is not the consumer of order',
    ]);
  });

  test('a variable that is missing, wrong, unknown, or one address too many', () => {
    const planted = manifests();
    const { env = [] } = container(planted, 'order');
    Object.assign(env.find(({ name }) => name === 'SERVICE_PORT') ?? {}, { value: 'http' });
    env.splice(
      env.findIndex(({ name }) => name === 'NATS_URL'),
      1,
    );
    env.push({ name: 'PAYMENT_URL', value: 'http://payment:8080' }, { name: 'LOG_LEVLE', value: 'info' });
    const flaws = environmentFlaws(planted);
    expect(flaws.some((flaw) => flaw.startsWith('order: SERVICE_PORT: '))).toBe(true);
    expect(flaws.some((flaw) => flaw.startsWith('order: NATS_URL: '))).toBe(true);
    expect(flaws).toContain('order: need not know PAYMENT_URL');
    expect(flaws).toContain('order: nobody reads LOG_LEVLE');
    expect(environmentOf(planted, 'order').DATABASE_URL).toMatch(
      /^postgres:\/\/order:p0+@order-db-rw:5432\/order/,
    );
  });

  test('too few connections for the replicas, and too little memory for the connections', () => {
    const planted = manifests();
    Object.assign(named<IScaledObject>(planted, 'ScaledObject', 'order').spec, { maxReplicaCount: 5 });
    const { resources } = named<ICluster>(planted, 'Cluster', 'payment-db').spec;
    Object.assign(resources?.limits ?? {}, { memory: '512Mi' });
    expect(limitFlaws(planted)).toEqual([
      'order-db: max_connections is below 420',
      'payment-db: memory in MB is below 1092',
    ]);
  });

  test('an edge too many, and one too few', () => {
    const planted = manifests();
    const database = named<INetworkPolicy>(planted, 'NetworkPolicy', 'payment-db').spec?.ingress?.[0];
    database?.from?.push({ podSelector: {} });
    const egress = named<INetworkPolicy>(planted, 'NetworkPolicy', 'coordinator').spec?.egress?.[0];
    egress?.to?.shift();
    expect(networkFlaws(planted)).toEqual(['not allowed: coordinator → order:8080']);
    const order = named<INetworkPolicy>(planted, 'NetworkPolicy', 'order').spec?.egress;
    order?.push({ to: [{ podSelector: {} }], ports: [{ port: 5432 }] });
    expect(networkFlaws(planted)).toContain('allowed without need: order → payment-db:5432');
  });

  test('a pod that no policy is about, and names that nobody may ask', () => {
    const planted = manifests().filter(({ kind, metadata }) => {
      return kind !== 'NetworkPolicy' || !['order', 'nobody'].includes(metadata.name);
    });
    const flaws = networkFlaws(planted);
    expect(flaws).toContain('allowed without need: stranger → order:8080');
    expect(flaws).toContain('not allowed: payment → dns:53');
  });
});
