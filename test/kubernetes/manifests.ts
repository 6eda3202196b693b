/** The manifests as `kubectl apply` would get them: built by Kustomize, or read one by one where there is none. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { cachedPath } from '#lab/nats-binary.ts';
import { repository } from '#lab/topology.ts';

export type Manifest = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
};

export const directory = join(repository, 'infra/kubernetes');

type Kustomize = { name: string; command: string; args: readonly string[] };

/** On the PATH, in the lab's cache, or the one that is part of kubectl. */
export const kustomize: Kustomize | undefined = [
  { name: 'kustomize', command: 'kustomize', args: ['build'] },
  {
    name: 'kustomize of the cache',
    command: join(dirname(cachedPath(process.env)), 'kustomize'),
    args: ['build'],
  },
  { name: 'kubectl kustomize', command: 'kubectl', args: ['kustomize'] },
].find(({ command, args }) => answers(command, args));

function answers(command: string, args: readonly string[]): boolean {
  if (command.includes('/') && !existsSync(command)) return false;
  try {
    execFileSync(command, [...args, '--help'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // Not there, or another program of that name.
  }
}

const built = new Map<string, Manifest[]>();

/** `base`, or an overlay such as `overlays/trial`. Every call has a copy of its own, to plant defects in. */
export function build(path: string): Manifest[] {
  if (!kustomize) throw new Error('there is no kustomize');
  const { command, args } = kustomize;
  let manifests = built.get(path);
  if (!manifests) {
    const text = execFileSync(command, [...args, join(directory, path)], { encoding: 'utf8' });
    manifests = parse(text);
    built.set(path, manifests);
  }
  return structuredClone(manifests);
}

/** Every manifest of its own, as it is written, without what Kustomize adds. */
export const plainFiles = (): { file: string; manifests: Manifest[] }[] =>
  globSync('**/*.yaml', { cwd: directory })
    .filter((file) => !file.endsWith('kustomization.yaml') && !file.startsWith('nats/'))
    .map((file) => ({ file, manifests: parse(readFileSync(join(directory, file), 'utf8')) }));

function parse(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0]) throw document.errors[0];
    return document.toJS() as Manifest;
  });
}

/** Of one kind, as the type that the caller knows it to be: the schemas have said so before. */
export const ofKind = <T>(manifests: readonly Manifest[], kind: string): (Manifest & T)[] =>
  manifests.filter((manifest) => manifest.kind === kind) as (Manifest & T)[];

export function named<T>(manifests: readonly Manifest[], kind: string, name: string): Manifest & T {
  const found = ofKind<T>(manifests, kind).find(({ metadata }) => metadata.name === name);
  if (!found) throw new Error(`there is no ${kind} ${name}`);
  return found;
}
