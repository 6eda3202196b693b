import { performs, takesPart, undoes } from '#libs/step/reaction.ts';
import { reserve } from './step.ts';

export const reactions = [
  performs({
    on: 'payment.completed',
    step: reserve,
    command: ({ orderId, data }) => ({ orderId, items: data.items }),
    done: { say: 'inventory.reserved', data: () => ({}) },
    refused: { say: 'inventory.failed', data: ({ reason }) => ({ reason }) },
  }),
  undoes({ on: 'logistics.failed', step: reserve, say: 'inventory.released' }),
  undoes({ on: 'logistics.unassigned', step: reserve, say: 'inventory.released' }),
];

export const participation = takesPart({
  step: reserve,
  command: ({ orderId, data }) => ({ orderId, items: data.items }),
});
