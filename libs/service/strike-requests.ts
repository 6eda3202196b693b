/**
 * The fault point of a process's HTTP surface: met by every request that wants something changed, before its body is
 * read. Reads go on, so that a person can watch; health and metrics are reads as well.
 */
import { Problem } from '#libs/contracts/problems.ts';
import { type Injector, undergo } from '#libs/faults/injector.ts';
import type { FastifyInstance } from './http.ts';

export function strikeRequests(app: FastifyInstance, process: string, injector: () => Injector): void {
  const point = `${process}.http`;
  let requests = 0;
  app.addHook('onRequest', async ({ method }) => {
    if (method === 'GET') return;
    // No order is known yet. A share is drawn from the number of the request in place of the order's id.
    requests += 1;
    const subject = { orderId: `${point} ${requests}`, customerId: '', dishIds: '' };
    if (!injector().armed(subject)) return;
    const strike = await injector()
      .strike(point, subject, 1)
      .catch(() => null);
    await undergo(strike);
    if (strike?.do === 'error') throw new Problem('service-unavailable', `injected error at ${point}`);
  });
}
