/** The environment of every Deployment, read by the schema that the service itself reads it with. */
import type { z } from 'zod';
import { serviceEnvironment } from '#lab/environment.ts';
import { coordinatorName, gatewayName, labTopology } from '#lab/topology.ts';
import { serviceConfig } from '#libs/service/config.ts';
import { gatewayConfig } from '#services/console/config.ts';
import { coordinatorConfig } from '#services/coordinator/config.ts';
import { type Manifest, ofKind } from './manifests.ts';
import { podsOf } from './references.ts';

const schemaOf = (service: string): z.ZodObject =>
  service === gatewayName ? gatewayConfig : service === coordinatorName ? coordinatorConfig : serviceConfig;

/** Not of our schemas: what Node and OpenTelemetry read, and what others are made of. */
const notOurs = /^(OTEL_\w+|NODE_\w+|(\w+_)?PASSWORD)$/;
const ofEverybody = ['FAULTS', 'LAB_DATA'];

export function environmentOf(manifests: readonly Manifest[], service: string): Record<string, string> {
  const pod = podsOf(manifests).find(({ owner }) => owner === service);
  const values: Record<string, string> = {};
  for (const { name, value, valueFrom } of pod?.spec.containers[0]?.env ?? []) {
    // A Secret's content, of the form that infra/kubernetes/secrets.ts gives it.
    const content = valueFrom?.secretKeyRef ? `p${'0'.repeat(48)}` : (value ?? '');
    values[name] = content.replaceAll(/\$\((\w+)\)/g, (unknown, used: string) => values[used] ?? unknown);
  }
  return values;
}

export function environmentFlaws(manifests: readonly Manifest[]): string[] {
  const names = ofKind(manifests, 'Deployment').map(({ metadata }) => metadata.name);
  const expected = labTopology.services.map(({ name }) => name);
  return [
    ...expected.filter((name) => !names.includes(name)).map((name) => `${name} is not deployed`),
    ...names.flatMap((name) => serviceFlaws(name, environmentOf(manifests, name))),
  ];
}

function serviceFlaws(service: string, environment: Record<string, string>): string[] {
  const schema = schemaOf(service);
  const parsed = schema.safeParse(environment);
  const known = [...Object.keys(schema.shape), ...ofEverybody];
  const unknown = Object.keys(environment).filter((name) => !known.includes(name) && !notOurs.test(name));
  const told = addresses(environment);
  const wanted = addresses(labEnvironment(service));
  return [
    ...(parsed.error?.issues ?? []).map(({ path, message }) => `${service}: ${path.join('.')}: ${message}`),
    ...unknown.map((name) => `${service}: nobody reads ${name}`),
    ...wanted.filter((name) => !told.includes(name)).map((name) => `${service}: is not told ${name}`),
    ...told.filter((name) => !wanted.includes(name)).map((name) => `${service}: need not know ${name}`),
  ];
}

const addresses = (environment: Record<string, string>): string[] =>
  Object.keys(environment).filter((name) => /^(?!JAEGER)\w+_URL$/.test(name));

/** What the lab gives the same service: only the names matter here. */
export function labEnvironment(service: string): Record<string, string> {
  const part = labTopology.services.find(({ name }) => name === service);
  if (!part) throw new Error(`infra/lab/topology.ts has no ${service}`);
  const databases = Object.fromEntries(
    labTopology.databases.map(({ name }) => [name, { url: 'postgres://x', auditUrl: 'postgres://x' }]),
  );
  const lab = {
    host: 'x',
    gatewayPort: 1,
    portOf: () => 1,
    databases,
    nats: { url: 'nats://x', monitorUrl: 'http://x' },
    natsUrlOf: () => 'nats://x',
    jaegerUrl: null,
    adminToken: 'x',
  };
  return serviceEnvironment(part, labTopology.services, lab, {});
}
