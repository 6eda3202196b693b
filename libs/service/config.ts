/**
 * A service's configuration: environment only, parsed once at the edge. Every variable may come as the path of a
 * file that holds it, in a variable of that name and `_FILE`: so a secret stands in no environment.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const onOff = z.enum(['on', 'off']).transform((value) => value === 'on');

/** One address, or several with commas between them: a service's replicas, a broker's nodes. */
export const replicaUrls = z
  .string()
  .refine((text) => text.split(',').every((url) => URL.canParse(url.trim())), {
    message: 'takes URLs, with commas between them',
  });

export const commonConfig = z.object({
  SERVICE_HOST: z.string().default('127.0.0.1'),
  SERVICE_PORT: z.coerce.number().int().min(1).max(65_535),
  NATS_URL: z.string().min(1),
  /** Of every node of the broker. */
  NATS_MONITOR_URL: replicaUrls.optional(),
  /** Each service's address is a DNS name that stands for all its replicas, which come and go. */
  RESOLVE_REPLICAS: onOff.default(false),
  NATS_UNSAFE: z.enum(['0', '1']).default('0'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  /** Fault injection: on in the lab, off in a deployment. */
  FAULTS: onOff.default(false),
  /**
   * Whoever asks from this machine is the operator. For the lab only: in a container every request that comes
   * through a published port, or from a neighbour in the pod, may look like one from this machine.
   */
  LAB: onOff.default(false),
  /** The operator's: without it nobody can set faults outside of the lab, or force a branch. */
  ADMIN_TOKEN: z.string().min(16).optional(),
});

export const serviceConfig = commonConfig.extend({
  DATABASE_URL: z.string().min(1),
  /** For steps, and as many again for reads. */
  DATABASE_CONNECTIONS_MAX: z.coerce.number().int().min(2).max(100).default(4),
  /** Fills empty tables with the lab's data. */
  LAB_DATA: onOff.default(false),
  /** Asked about branches in doubt; without it they wait for an operator. */
  COORDINATOR_URL: replicaUrls.optional(),
  /**
   * Branches of two-phase commit that run at once; more wait up to 5 s for a connection, in the order in which
   * they came. On a row that all of them want they would wait all the same, and in no order (docs/performance.md).
   */
  BRANCH_CONNECTIONS_MAX: z.coerce.number().int().min(1).max(64).default(16),
  /** Messages in the outbox that are not published: with so many of them nothing more is taken in. */
  OUTBOX_MESSAGES_MAX: z.coerce.number().int().min(1).default(5_000),
  /** After this long an order that has not ended is cancelled. */
  ORDER_DEADLINE_MS: z.coerce.number().int().min(100).default(30_000),
});

export type ServiceConfig = z.output<typeof serviceConfig>;

/** Stops the process with one line per bad variable; the values are not shown, they may be secrets. */
export function readConfig<Schema extends z.ZodObject>(schema: Schema): z.output<Schema> {
  const { values, flaws } = readFiles(process.env, Object.keys(schema.shape));
  const parsed = schema.safeParse(values);
  if (parsed.success && flaws.length === 0) return parsed.data;
  for (const issue of parsed.error?.issues ?? []) flaws.push(`${issue.path.join('.')}: ${issue.message}`);
  for (const flaw of flaws) process.stderr.write(`environment: ${flaw}\n`);
  process.exit(2);
}

/**
 * The environment with the contents of the files that it names. White space around a content is not part of it,
 * and an empty file is as good as none: that is how a deployment switches off what a file would switch on.
 */
function readFiles(environment: NodeJS.ProcessEnv, names: readonly string[]) {
  const values = { ...environment };
  const flaws: string[] = [];
  for (const name of names) {
    const path = environment[`${name}_FILE`];
    if (path === undefined) continue;
    if (environment[name] !== undefined) {
      flaws.push(`${name}: given twice, here and in ${name}_FILE`);
      continue;
    }
    try {
      const content = readFileSync(path, 'utf8').trim();
      if (content !== '') values[name] = content;
    } catch (error) {
      flaws.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
  }
  return { values, flaws };
}
