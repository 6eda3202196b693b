import { performs, takesPart, undoes } from '#libs/step/reaction.ts';
import { charge } from './step.ts';

export const reactions = [
  performs({
    on: 'order.placement.requested',
    step: charge,
    command: ({ orderId, customerId, data }) => ({ orderId, customerId, amount: data.total }),
    done: { say: 'payment.completed', data: ({ cause }) => ({ items: cause.data.items }) },
    refused: { say: 'payment.failed', data: ({ reason }) => ({ reason }) },
  }),
  undoes({ on: 'inventory.failed', step: charge, say: 'payment.refunded' }),
  undoes({ on: 'inventory.released', step: charge, say: 'payment.refunded' }),
];

export const participation = takesPart({
  step: charge,
  command: ({ orderId, customerId, data }) => ({ orderId, customerId, amount: data.total }),
});
