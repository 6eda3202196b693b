/**
 * Why a broker may lose what it has acknowledged. By default JetStream acknowledges before it syncs and syncs every
 * two minutes, so a power cut loses acknowledged writes (Jepsen, NATS 2.12.1); a power cut of a whole cluster as well.
 */
const monitorTimeoutMs = 3_000;

/**
 * Looks at every node, because any of them may lead the stream; null when nothing is wrong. A node that is down stores
 * nothing just now, and is looked at by whoever starts next; that none of them answers is told by throwing.
 */
export async function durabilityFlaw(
  version: string,
  monitorUrls: string | undefined,
): Promise<string | null> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 2 || (major === 2 && minor < 10)) return `NATS ${version} is too old: 2.10 or newer is needed`;
  if (!monitorUrls)
    return 'NATS_MONITOR_URL is not set, so the sync_interval of the broker cannot be checked';
  const nodes = await Promise.allSettled(monitorUrls.split(',').map((url) => syncsAlways(url.trim())));
  const found = nodes.flatMap((node) => (node.status === 'fulfilled' ? [node.value] : []));
  if (found.length === 0) throw (nodes[0] as PromiseRejectedResult).reason;
  if (found.every(Boolean)) return null;
  return 'the broker does not run with jetstream { sync_interval: always }, so it acknowledges before it is durable';
}

async function syncsAlways(monitorUrl: string): Promise<boolean> {
  const response = await fetch(new URL('/varz', monitorUrl), {
    signal: AbortSignal.timeout(monitorTimeoutMs),
  });
  const varz = (await response.json()) as { jetstream?: { config?: { sync_always?: boolean } } };
  return varz.jetstream?.config?.sync_always === true;
}
