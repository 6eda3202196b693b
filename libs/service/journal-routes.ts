/** What a service did about one order, for the timeline. */
import { asc, eq } from 'drizzle-orm';
import { orderParams, type TimelineItem } from '#libs/contracts/orders.ts';
import { journal } from '#libs/step/tables.ts';
import type { ServiceContext, ServiceDefinition } from './definition.ts';
import { type FastifyInstance, parse } from './http.ts';

export function journalRoutes(
  app: FastifyInstance,
  service: ServiceDefinition,
  { db }: ServiceContext,
): void {
  const undoNames = new Map(service.reactions.map(({ step }) => [step.name, step.undoName]));

  app.get('/journal/:orderId', async (request): Promise<{ items: TimelineItem[] }> => {
    const { orderId } = parse(orderParams, request.params);
    const entries = await db
      .select()
      .from(journal)
      .where(eq(journal.orderId, orderId))
      .orderBy(asc(journal.lamport), asc(journal.recordedAt));
    const items = entries.map((entry) => ({
      lamport: entry.lamport,
      type: entry.eventType,
      service: service.name,
      step: entry.direction === 'do' ? entry.step : (undoNames.get(entry.step) ?? entry.step),
      outcome: entry.outcome,
      reason: entry.reason,
      attempt: entry.attempt,
      time: entry.recordedAt.toISOString(),
      eventId: entry.eventId,
      causationId: entry.causationId,
    }));
    return { items };
  });
}
