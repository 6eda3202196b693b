/**
 * What a database must have room for. The lab's servers are started with these; docker-compose.yml and the manifests
 * of Kubernetes say the same in their own files, and tests compare.
 */

/**
 * What one process of a service may open at most in all its pools (libs/service/start.ts, two-phase.ts) is 40; the
 * rest is room for who sets BRANCH_CONNECTIONS_MAX higher.
 */
const connectionsPerClient = 60;
/** For the checkers of the gateways, the benchmark, and people. */
const connectionsForOthers = 60;
/** Twice what one coordinator has under way at once. */
const preparedPerCoordinator = 128;

/** `clients`: the processes that share the database. */
export const connectionsFor = (clients: number): number =>
  connectionsForOthers + connectionsPerClient * clients;
export const preparedFor = (coordinators: number): number => preparedPerCoordinator * coordinators;

/** Beside what all share. Measured on 175 backends under both protocols' load: 2.2 MB each, and 0.2 of page tables. */
const memoryMbPerConnection = 2.4;
/** The server's own processes, the log's buffers and, at the least, pages of files. */
const memoryMbForOthers = 100;

/** A server with less is killed when all connections that it allows are open: and with it whatever they were doing. */
export const databaseMemoryMb = (connections: number, sharedBuffersMb: number): number =>
  Math.ceil(memoryMbForOthers + sharedBuffersMb + memoryMbPerConnection * connections);
