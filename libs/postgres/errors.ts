/**
 * Tells an outage (nobody's fault: wait and try the same again) from a failure of this very work (split
 * the batch, find the culprit). Wrong either way it stays safe: work is retried and journaled.
 */
const outageSqlStates = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now: starting up or in recovery
  '57P05', // idle_session_timeout
  '53100', // disk_full
  '53200', // out_of_memory
  '53300', // too_many_connections
  '25006', // read_only_sql_transaction: a failover is under way
]);

const outageMessages = [
  'Connection terminated',
  'Query read timeout',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error',
  'Client was closed',
  'server closed the connection',
];

const outageSystemCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = String((error as { code?: unknown }).code ?? '');
  if (outageSqlStates.has(code) || code.startsWith('08') || outageSystemCodes.has(code)) return true;
  if (outageMessages.some((message) => error.message.includes(message))) return true;
  return error.cause !== undefined && isOutage(error.cause);
}

/** Somebody else holds what this work needs. Nobody's fault, like an outage, but it is about single rows. */
export function isLockTimeout(error: unknown): boolean {
  return String((error as { code?: unknown }).code ?? '') === '55P03';
}

/** Serialization failures, deadlocks and lock timeouts: the same work may well succeed at once. */
export function isContention(error: unknown): boolean {
  const code = String((error as { code?: unknown }).code ?? '');
  return code === '40001' || code === '40P01' || code === '55P03';
}
