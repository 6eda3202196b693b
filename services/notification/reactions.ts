import { performs } from '#libs/step/reaction.ts';
import { notifyCancelled, notifyConfirmed, notifyDispatched } from './step.ts';

export const reactions = [
  performs({
    on: 'order.confirmed',
    step: notifyConfirmed,
    command: ({ id, orderId, customerId }) => ({ notificationId: id, orderId, customerId, reason: '' }),
    done: null,
    refused: null,
  }),
  performs({
    on: 'order.dispatched',
    step: notifyDispatched,
    command: ({ id, orderId, customerId }) => ({ notificationId: id, orderId, customerId, reason: '' }),
    done: null,
    refused: null,
  }),
  performs({
    on: 'order.cancelled',
    step: notifyCancelled,
    command: ({ id, orderId, customerId, data }) => ({
      notificationId: id,
      orderId,
      customerId,
      reason: data.reason,
    }),
    done: null,
    refused: null,
  }),
];
