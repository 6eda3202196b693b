import { performs, takesPart, undoes } from '#libs/step/reaction.ts';
import { assign } from './step.ts';

export const reactions = [
  performs({
    on: 'order.confirmed',
    step: assign,
    command: ({ orderId, data }) => ({ orderId, city: data.city }),
    done: { say: 'logistics.assigned', data: ({ result }) => ({ courierId: result.courierId }) },
    refused: { say: 'logistics.failed', data: ({ reason }) => ({ reason }) },
  }),
  undoes({ on: 'order.cancellation.requested', step: assign, say: 'logistics.unassigned' }),
];

export const participation = takesPart({
  step: assign,
  command: ({ orderId, data }) => ({ orderId, city: data.city }),
});
