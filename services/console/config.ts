import { isIP } from 'node:net';
import { z } from 'zod';
import { commonConfig, replicaUrls } from '#libs/service/config.ts';

const database = z.string().min(1).optional();

/** Addresses or networks with commas between them; none at all is nobody. */
const networks = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== ''))
  .refine((parts) => parts.every(isNetwork), { message: 'takes addresses or networks, such as 10.0.0.0/8' });

function isNetwork(text: string): boolean {
  const [address = '', prefix = '1'] = text.split('/');
  const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0;
  return /^\d+$/.test(prefix) && Number(prefix) >= 1 && Number(prefix) <= bits;
}

export const gatewayConfig = commonConfig.extend({
  ORDER_URL: replicaUrls,
  PAYMENT_URL: replicaUrls,
  INVENTORY_URL: replicaUrls,
  LOGISTICS_URL: replicaUrls,
  NOTIFICATION_URL: replicaUrls,
  COORDINATOR_URL: replicaUrls,
  /** Read-only access for the checker; without it `/api/invariants` says that it cannot look. */
  ORDER_AUDIT_URL: database,
  PAYMENT_AUDIT_URL: database,
  INVENTORY_AUDIT_URL: database,
  LOGISTICS_AUDIT_URL: database,
  NOTIFICATION_AUDIT_URL: database,
  COORDINATOR_AUDIT_URL: database,
  /** From one address, beyond which it is answered 429; 0 for no limit. */
  RATE_LIMIT_PER_MINUTE: z.coerce.number().int().min(0).default(6_000),
  /** Of the proxies before the gateway: they say who asks. */
  TRUSTED_PROXIES: networks.optional(),
  /** Of the lab's launcher: the Unix socket at which it takes commands. */
  LAB_CONTROL: z.string().min(1).optional(),
  /** Jaeger's query API, such as http://127.0.0.1:16686; without it `/api/traces` says how to get one. */
  JAEGER_URL: z.url().optional(),
});

export type GatewayConfig = z.output<typeof gatewayConfig>;
