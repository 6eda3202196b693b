/** The checker over HTTP. One check at a time: who asks meanwhile gets the answer of the one under way. */
import type { NatsConnection } from '@nats-io/transport-node';
import { checkInvariants, type Invariants } from '#libs/checker/check.ts';
import type { AuditUrls } from '#libs/checker/gather.ts';
import { invariantsQuery } from '#libs/contracts/answers.ts';
import { Problem } from '#libs/contracts/problems.ts';
import { type FastifyInstance, parse } from '#libs/service/http.ts';
import type { GatewayConfig } from './config.ts';

export function invariantRoutes(
  app: FastifyInstance,
  connection: NatsConnection,
  config: GatewayConfig,
): void {
  const urls = auditUrls(config);
  const underWay = new Map<string, Promise<Invariants>>();

  app.get('/api/invariants', async (request) => {
    const { quiet } = parse(invariantsQuery, request.query);
    if (!urls) throw new Problem('service-unavailable', 'the checker has no access to the databases');
    let check = underWay.get(quiet);
    if (!check) {
      check = checkInvariants(urls, connection, { quiet: quiet === 'true' }).finally(() =>
        underWay.delete(quiet),
      );
      underWay.set(quiet, check);
    }
    return check;
  });
}

function auditUrls(config: GatewayConfig): AuditUrls | undefined {
  const urls = {
    order: config.ORDER_AUDIT_URL,
    payment: config.PAYMENT_AUDIT_URL,
    inventory: config.INVENTORY_AUDIT_URL,
    logistics: config.LOGISTICS_AUDIT_URL,
    notification: config.NOTIFICATION_AUDIT_URL,
  };
  if (Object.values(urls).includes(undefined)) return undefined;
  // Without this one only the rules of two-phase commit cannot look, and say so.
  return { ...urls, coordinator: config.COORDINATOR_AUDIT_URL } as AuditUrls;
}
