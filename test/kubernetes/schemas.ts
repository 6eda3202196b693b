/**
 * Manifests against the schemas of Kubernetes and of the operators' resources. Twice, because each finds what the
 * other cannot: the packages' validators know the values, but not the fields that no schema has; the compiler
 * refuses every field that the types of the same packages do not have.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as cnpg from '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1';
import * as keda from '@kubernetes-models/keda/keda.sh/v1alpha1';
import * as monitoring from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import * as apps from 'kubernetes-models/apps/v1';
import * as autoscaling from 'kubernetes-models/autoscaling/v2';
import * as batch from 'kubernetes-models/batch/v1';
import * as networking from 'kubernetes-models/networking.k8s.io/v1';
import * as policy from 'kubernetes-models/policy/v1';
import * as core from 'kubernetes-models/v1';
import { repository } from '#lab/topology.ts';
import type { Manifest } from './manifests.ts';

type Model = new (data: never) => { validate(): void };

/** By apiVersion: the module that the compiler imports, and the same one loaded. */
const groups: Record<string, { module: string; models: object }> = {
  v1: { module: 'kubernetes-models/v1', models: core },
  'apps/v1': { module: 'kubernetes-models/apps/v1', models: apps },
  'autoscaling/v2': { module: 'kubernetes-models/autoscaling/v2', models: autoscaling },
  'batch/v1': { module: 'kubernetes-models/batch/v1', models: batch },
  'networking.k8s.io/v1': { module: 'kubernetes-models/networking.k8s.io/v1', models: networking },
  'policy/v1': { module: 'kubernetes-models/policy/v1', models: policy },
  'keda.sh/v1alpha1': { module: '@kubernetes-models/keda/keda.sh/v1alpha1', models: keda },
  'monitoring.coreos.com/v1': {
    module: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
    models: monitoring,
  },
  'postgresql.cnpg.io/v1': {
    module: '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1',
    models: cnpg,
  },
};

/** No package carries it: what is in there was compared with the plugin's documentation by hand. */
export const withoutSchema = ['barmancloud.cnpg.io/v1/ObjectStore'];

const nameOf = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.name}`;
const hasSchema = ({ apiVersion, kind }: Manifest): boolean =>
  !withoutSchema.includes(`${apiVersion}/${kind}`);

/** What the schemas say against these manifests; empty when nothing. */
export function schemaFlaws(manifests: readonly Manifest[]): string[] {
  const known = manifests.filter(hasSchema);
  const foreign = known.filter((manifest) => !modelOf(manifest));
  return [
    ...foreign.map((manifest) => `${nameOf(manifest)}: ${manifest.apiVersion} has no schema here`),
    ...known.flatMap(valueFlaws),
    ...fieldFlaws(known.filter((manifest) => modelOf(manifest))),
  ];
}

const modelOf = ({ apiVersion, kind }: Manifest): Model | undefined =>
  (groups[apiVersion]?.models as Record<string, Model> | undefined)?.[kind];

function valueFlaws(manifest: Manifest): string[] {
  const Kind = modelOf(manifest);
  if (!Kind) return [];
  try {
    new Kind(manifest as never).validate();
    return [];
  } catch (error) {
    return [`${nameOf(manifest)}: ${(error as Error).message}`];
  }
}

/** One literal each, checked by the compiler against the type of its kind. */
function fieldFlaws(manifests: readonly Manifest[]): string[] {
  const directory = join(repository, 'node_modules/.cache/saga-lab-manifests');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `manifests-${process.pid}.ts`);
  const lines = manifests.map(
    (manifest) =>
      `({${JSON.stringify(manifest).slice(1)} satisfies import('${groups[manifest.apiVersion]?.module}').I${manifest.kind});`,
  );
  writeFileSync(file, `export {};\n${lines.join('\n')}\n`);
  const flags =
    '--ignoreConfig --noEmit --strict --skipLibCheck --module nodenext --target es2024 --pretty false';
  try {
    const args = [...flags.split(' '), '--types', '', file];
    execFileSync(join(repository, 'node_modules/.bin/tsc'), args, { encoding: 'utf8' });
    return [];
  } catch (error) {
    const said = (error as { stdout?: string }).stdout ?? '';
    if (said === '') throw error;
    return said.split('\n').flatMap((line) => {
      const [, number, message] = /\((\d+),\d+\): error \w+: (.*)$/.exec(line) ?? [];
      const manifest = manifests[Number(number) - 2];
      return manifest ? [`${nameOf(manifest)}: ${message}`] : [];
    });
  } finally {
    rmSync(file, { force: true });
  }
}
