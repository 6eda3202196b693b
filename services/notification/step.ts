import { columns, statement } from '#libs/postgres/statement.ts';
import type { Tx } from '#libs/postgres/transaction.ts';
import { type Command, done, type Step } from '#libs/step/step.ts';
import { decideText, type Kind } from './decide.ts';

type Notify = Command & { notificationId: string; customerId: string; reason: string };

/** One step a kind: a customer is told of each once. */
export const notifyConfirmed = notifyStep('confirmed');
export const notifyDispatched = notifyStep('dispatched');
export const notifyCancelled = notifyStep('cancelled');

function notifyStep(kind: Kind): Step<Notify, null, Record<string, never>> {
  return {
    name: `notification.notify-${kind}`,
    coveredBy: 'nothing: what was told stays told, and a cancellation is told too',
    lock: async () => null,
    perform: (tx, commands, _locked, at) => sendNotifications(tx, kind, commands, at),
  };
}

const insertNotifications = statement(`
  insert into notifications (notification_id, order_id, customer_id, kind, text, created_at)
  select notification_id, order_id, customer_id, $1, text, $2
  from unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[]) as told (notification_id, order_id, customer_id, text)`);

async function sendNotifications(tx: Tx, kind: Kind, commands: readonly Notify[], at: Date) {
  const rows = commands.map((command) => ({ ...command, text: decideText(kind, command.reason) }));
  tx.write(
    insertNotifications(tx, kind, at, ...columns(rows, ['notificationId', 'orderId', 'customerId', 'text'])),
  );
  return commands.map(() => done({}));
}
