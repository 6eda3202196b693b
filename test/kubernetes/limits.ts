/** Whether databases have room, and memory, for as many replicas as the autoscalers may start. */
import type { ICluster } from '@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1';
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { connectionsFor, databaseMemoryMb, preparedFor } from '#lab/postgres-limits.ts';
import { coordinatorName } from '#lab/topology.ts';
import { type Manifest, ofKind } from './manifests.ts';

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
    const parameters = spec.postgresql?.parameters ?? {};
    const service = metadata.name.replace(/-db$/, '');
    const connections = Number(parameters.max_connections);
    const memoryMb = databaseMemoryMb(connections, megabytes(parameters.shared_buffers));
    const rows = [
      { what: 'max_connections', has: connections, needs: connectionsFor(most(service)) },
      {
        what: 'max_prepared_transactions',
        has: Number(parameters.max_prepared_transactions),
        needs: preparedFor(most(coordinatorName)),
      },
      { what: 'memory in MB', has: megabytes(spec.resources?.limits?.memory), needs: memoryMb },
    ];
    return rows
      .filter(({ has, needs }) => !(has >= needs))
      .map(({ what, needs }) => `${metadata.name}: ${what} is below ${needs}`);
  });
}

/** Of Kubernetes (`1Gi`) or PostgreSQL (`128MB`): both mean powers of two. */
function megabytes(text: string | number | undefined): number {
  const [, number = '', unit = ''] = /^(\d+)(Gi|Mi|GB|MB)$/.exec(String(text)) ?? [];
  return Number(number || Number.NaN) * (unit.startsWith('G') ? 1024 : 1);
}
