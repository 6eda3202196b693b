/** Whether databases and broker have room for as many replicas as the autoscalers may start. */
import type { ICluster } from '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1';
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { coordinatorName } from '#lab/topology.ts';
import { type Manifest, ofKind } from './manifests.ts';

/** infra/lab/postgres.ts says where these come from. */
const connectionsPerReplica = 60;
const connectionsForOthers = 60;
const preparedPerCoordinator = 128;
/** A rolling update starts one more before it stops one. */
const surge = 1;

export function limitFlaws(manifests: readonly Manifest[]): string[] {
  const replicas = new Map([
    ...ofKind<IScaledObject>(manifests, 'ScaledObject').map((each): [string, number] => [
      each.spec.scaleTargetRef.name,
      each.spec.maxReplicaCount ?? 100,
    ]),
    ...ofKind<IHorizontalPodAutoscaler>(manifests, 'HorizontalPodAutoscaler').map(
      (each): [string, number] => [each.spec?.scaleTargetRef.name ?? '', each.spec?.maxReplicas ?? 0],
    ),
  ]);
  const most = (service: string): number => (replicas.get(service) ?? 1) + surge;
  return ofKind<ICluster>(manifests, 'Cluster').flatMap(({ metadata, spec }) => {
    const { max_connections = '100', max_prepared_transactions = '0' } = spec.postgresql?.parameters ?? {};
    const service = metadata.name.replace(/-db$/, '');
    const connections = connectionsForOthers + connectionsPerReplica * most(service);
    const prepared = preparedPerCoordinator * most(coordinatorName);
    return [
      ...(Number(max_connections) >= connections
        ? []
        : [`${metadata.name}: max_connections is below ${connections}`]),
      ...(Number(max_prepared_transactions) >= prepared
        ? []
        : [`${metadata.name}: max_prepared_transactions is below ${prepared}`]),
    ];
  });
}
