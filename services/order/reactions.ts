import { performs, takesPart, undoes } from '#libs/step/reaction.ts';
import { confirm, dispatch, place, requestCancellation } from './step.ts';

const nothing = () => ({});

export const reactions = [
  performs({
    on: 'request:place-order',
    step: place,
    command: ({ orderId, data }) => ({ orderId, ...data }),
    done: {
      say: 'order.placement.requested',
      data: ({ cause: { data } }) => ({ city: data.city, items: data.items, total: data.total }),
    },
    refused: null,
  }),
  undoes({ on: 'payment.failed', step: place, say: 'order.cancelled' }),
  undoes({ on: 'payment.refunded', step: place, say: 'order.cancelled' }),
  performs({
    on: 'inventory.reserved',
    step: confirm,
    command: ({ orderId }) => ({ orderId }),
    done: { say: 'order.confirmed', data: ({ result }) => ({ city: result.city }) },
    refused: null,
  }),
  performs({
    on: 'logistics.assigned',
    step: dispatch,
    command: ({ orderId }) => ({ orderId }),
    done: { say: 'order.dispatched', data: nothing },
    refused: null,
  }),
  ...(['request:cancel-order', 'request:deadline'] as const).map((on) =>
    performs({
      on,
      step: requestCancellation,
      command: ({ orderId, data }) => ({ orderId, reason: data.reason }),
      done: { say: 'order.cancellation.requested', data: ({ cause }) => ({ reason: cause.data.reason }) },
      refused: null,
      afterAllKnown: true,
    }),
  ),
];

export const participation = takesPart({
  step: place,
  command: ({ orderId, data }) => ({ orderId, ...data }),
  closing: [
    performs({
      on: 'request:close-branch',
      step: confirm,
      command: ({ orderId }) => ({ orderId }),
      done: null,
      refused: null,
    }),
    performs({
      on: 'request:close-branch',
      step: dispatch,
      command: ({ orderId }) => ({ orderId }),
      done: { say: 'order.dispatched', data: nothing },
      refused: null,
    }),
  ],
  undone: { say: 'order.cancelled', data: ({ cause }) => ({ reason: cause.data.reason }) },
});
