/** Who may talk to whom, worked out from the NetworkPolicies as Kubernetes would, against infra/lab/topology.ts. */
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { gatewayName, labTopology, type ServicePart } from '#lab/topology.ts';
import { labEnvironment } from './environment.ts';
import { type Manifest, ofKind } from './manifests.ts';
import { podsOf } from './references.ts';

type Labels = Record<string, string>;
type Pods = { name: string; labels: Labels; namespace: Labels };
type Selector = {
  matchLabels?: Labels | undefined;
  matchExpressions?: { key: string; operator: string; values?: string[] }[] | undefined;
};
type Peer = { podSelector?: Selector; namespaceSelector?: Selector; ipBlock?: unknown };
type Rule = { peers?: readonly Peer[] | undefined; ports?: { port?: number | string }[] | undefined };

const portsLookedAt = [53, 443, 4222, 4318, 5432, 6222, 7777, 8000, 8080, 8222, 9187, 16686];
const ours = { 'kubernetes.io/metadata.name': 'saga-lab' };

/** Somebody in another namespace whom no policy names. */
const stranger: Pods = {
  name: 'stranger',
  labels: {},
  namespace: { 'kubernetes.io/metadata.name': 'default' },
};
const dns: Pods = {
  name: 'dns',
  labels: { 'k8s-app': 'kube-dns' },
  namespace: { 'kubernetes.io/metadata.name': 'kube-system' },
};
const brokerLabels = { 'app.kubernetes.io/name': 'nats', 'app.kubernetes.io/component': 'nats' };

function inhabitants(manifests: readonly Manifest[]): Pods[] {
  return [
    ...podsOf(manifests).map(({ owner, labels }) => ({ name: owner, labels, namespace: ours })),
    ...ofKind(manifests, 'Cluster').map(({ metadata }) => ({
      name: metadata.name,
      labels: { 'cnpg.io/cluster': metadata.name, 'cnpg.io/podRole': 'instance' },
      namespace: ours,
    })),
    { name: 'nats', labels: brokerLabels, namespace: ours },
  ];
}

/** `from → to:port`, for everybody who lives here, for a stranger and for the name server. */
function allowedEdges(manifests: readonly Manifest[]): string[] {
  const policies = ofKind<INetworkPolicy>(manifests, 'NetworkPolicy');
  const everybody = [...inhabitants(manifests), stranger, dns];
  return everybody.flatMap((from) =>
    everybody.flatMap((to) =>
      portsLookedAt
        .filter((port) => may(policies, 'Egress', from, to, port) && may(policies, 'Ingress', to, from, port))
        .filter(() => from.namespace === ours || to.namespace === ours)
        .map((port) => `${from.name} → ${to.name}:${port}`),
    ),
  );
}

function may(
  policies: readonly INetworkPolicy[],
  way: 'Ingress' | 'Egress',
  pod: Pods,
  peer: Pods,
  port: number,
) {
  // The policies of other namespaces are others' business.
  if (pod.namespace !== ours) return true;
  const about = policies.filter(
    ({ spec }) => spec?.policyTypes?.includes(way) && selects(spec.podSelector as Selector, pod.labels),
  );
  // Whom no policy is about may do everything.
  if (about.length === 0) return true;
  return about.some(({ spec }) => rulesOf(spec, way).some((rule) => allows(rule, peer, port)));
}

function rulesOf(spec: INetworkPolicy['spec'], way: 'Ingress' | 'Egress'): Rule[] {
  if (way === 'Ingress')
    return (spec?.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports })) as Rule[];
  return (spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports })) as Rule[];
}

function allows({ peers, ports }: Rule, peer: Pods, port: number): boolean {
  if (ports && !ports.some((open) => open.port === port)) return false;
  if (!peers || peers.length === 0) return true;
  return peers.some(({ podSelector, namespaceSelector, ipBlock }) => {
    if (ipBlock) return true;
    const isNear = namespaceSelector ? selects(namespaceSelector, peer.namespace) : peer.namespace === ours;
    return isNear && selects(podSelector ?? {}, peer.labels);
  });
}

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      if (operator === 'In') return values.includes(labels[key] ?? '');
      if (operator === 'Exists') return key in labels;
      throw new Error(`the test does not know the operator ${operator}`);
    })
  );
}

/** What the topology and the parts need of each other, and nothing else. */
function neededEdges(manifests: readonly Manifest[]): string[] {
  const databases = ofKind(manifests, 'Cluster').map(({ metadata }) => metadata.name);
  return [
    ...labTopology.services.flatMap((service) => [...calls(service), ...parts(service)]),
    ...databases.flatMap((name) => [`${name} → ${name}:5432`, `${name} → ${name}:8000`]),
    // The Kubernetes API, wherever it is.
    ...databases.flatMap((name) => [`${name} → stranger:443`, `${name} → dns:443`]),
    ...inhabitants(manifests).map(({ name }) => `${name} → dns:53`),
    'provision-broker → nats:4222',
    'broker-keeper → nats:4222',
    'nats → nats:6222',
  ];
}

const calls = ({ name }: ServicePart): string[] =>
  Object.keys(labEnvironment(name))
    .map((variable) => /^([A-Z]+)_URL$/.exec(variable)?.[1]?.toLowerCase() ?? '')
    .filter((callee) => labTopology.services.some((other) => other.name === callee))
    .map((callee) => `${name} → ${callee}:8080`);

const parts = ({ name, database }: ServicePart): string[] => [
  `${name} → nats:4222`,
  `${name} → nats:8222`,
  ...(database ? [`${name} → ${database}-db:5432`] : []),
  // As auditor.
  ...(name === gatewayName ? labTopology.databases.map((row) => `${name} → ${row.name}-db:5432`) : []),
];

export function networkFlaws(manifests: readonly Manifest[]): string[] {
  const allowed = allowedEdges(manifests);
  const needed = neededEdges(manifests);
  return [
    ...needed.filter((edge) => !allowed.includes(edge)).map((edge) => `not allowed: ${edge}`),
    ...allowed.filter((edge) => !needed.includes(edge)).map((edge) => `allowed without need: ${edge}`),
  ];
}
