import type { NatsConnection } from '@nats-io/transport-node';

/** Shorter than whoever asks for readiness waits: a broker that stands still gives no answer at all. */
const answerMsMax = 1_500;

/** In a word, for `/readyz`. */
export async function brokerState(connection: NatsConnection): Promise<'up' | 'down' | 'silent' | 'closed'> {
  if (connection.isClosed()) return 'closed';
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<'silent'>((resolve) => {
    timer = setTimeout(resolve, answerMsMax, 'silent');
  });
  const answer = connection.rtt().then(
    () => 'up' as const,
    () => 'down' as const,
  );
  const state = await Promise.race([answer, silence]);
  clearTimeout(timer);
  return state;
}
