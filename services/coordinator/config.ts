import { z } from 'zod';
import { commonConfig, replicaUrls } from '#libs/service/config.ts';

export const coordinatorConfig = commonConfig.extend({
  DATABASE_URL: z.string().min(1),
  ORDER_URL: replicaUrls,
  PAYMENT_URL: replicaUrls,
  INVENTORY_URL: replicaUrls,
  LOGISTICS_URL: replicaUrls,
  /** Tells this coordinator from its replicas, and its last life from this one. */
  COORDINATOR_NAME: z.string().min(1).max(60).optional(),
  /** Global transactions of one order that run at once; a group counts as one. */
  TRANSACTIONS_MAX: z.coerce.number().int().min(1).max(60).default(60),
});

export type CoordinatorConfig = z.output<typeof coordinatorConfig>;
