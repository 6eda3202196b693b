/** Which links there are, at which ports, and how a process is told its own instead of a server's address. */
import {
  databasePart,
  gatewayName,
  natsNodesOf,
  replicaPortStep,
  serviceOf,
  type Topology,
} from '../topology.ts';
import type { LinkPlan } from './link.ts';

/** One for each process and each server that it talks to: the database that it owns or audits, every broker. */
export function planLinks(topology: Topology, portBase: number, hasBroker: boolean): LinkPlan[] {
  const databases = topology.databases.map(({ name, portOffset }) => ({
    name,
    part: databasePart(name),
    port: portBase + portOffset,
  }));
  const brokers = hasBroker ? natsNodesOf(topology, portBase) : [];
  const ways = topology.services.flatMap((service) => {
    const isAuditor = serviceOf(service) === gatewayName;
    const own = databases.filter(({ name }) => isAuditor || name === service.database);
    const servers = [...own.map(({ part, port }) => ({ name: part, port })), ...brokers];
    return servers.map(({ name, port }) => ({ client: service.name, server: name, target: port }));
  });
  // Above the ports of every replica and node.
  const first = portBase + replicaPortStep * Math.max(replicasOf(topology), topology.nats.nodes ?? 1);
  return ways.map((way, index) => ({ ...way, port: first + index }));
}

const replicasOf = ({ databases }: Topology): number =>
  Math.max(1, ...databases.map(({ clients = 1 }) => clients));

/** Puts the links of this client in place of the servers in a URL, which may name several. */
export function through(plans: readonly LinkPlan[], client: string, url: string): string {
  const ports = new Map(
    plans.filter((plan) => plan.client === client).map((plan) => [plan.target, plan.port]),
  );
  return url.replaceAll(/(?<=@127\.0\.0\.1:|,127\.0\.0\.1:)\d+/g, (port) =>
    String(ports.get(Number(port)) ?? port),
  );
}
