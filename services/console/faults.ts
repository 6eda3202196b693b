/** Faults from outside: set, counted and reset over HTTP, kept in the bucket that every service watches. */
import { randomUUID } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { Problem } from '#libs/contracts/problems.ts';
import { type FaultBucket, openFaultBucket } from '#libs/faults/bucket.ts';
import { type Fault, faultsBody } from '#libs/faults/fault.ts';
import { faultPoints, setFlaw } from '#libs/faults/points.ts';
import { type FastifyInstance, type FastifyRequest, parse } from '#libs/service/http.ts';
import { assertOperator } from '#libs/service/operator.ts';
import type { GatewayConfig } from './config.ts';

export async function faultRoutes(app: FastifyInstance, connection: NatsConnection, config: GatewayConfig) {
  const bucket = config.FAULTS ? await openFaultBucket(connection) : undefined;
  const openTo = (request: FastifyRequest): FaultBucket => {
    if (!bucket) throw new Problem('faults-off');
    assertOperator(request, config, `${request.method} faults`);
    return bucket;
  };

  app.get('/api/faults', async (_request, reply) => {
    const { revision, items } = await list(bucket);
    reply.header('ETag', `"${revision}"`);
    const points = Object.entries(faultPoints).map(([at, point]) => ({ at, ...point }));
    return { items, nextCursor: null, on: bucket !== undefined, points };
  });

  app.put('/api/faults', async (request, reply) => {
    const { items } = parse(faultsBody, request.body);
    const faults = items.map((fault) => ({ ...fault, id: fault.id ?? randomUUID().slice(0, 8) }));
    refuseFlawed(faults);
    const written = await openTo(request).write(faults, readIfMatch(request));
    if (!written) throw new Problem('faults-changed');
    const state = await list(bucket);
    reply.header('ETag', `"${state.revision}"`);
    return { items: state.items, nextCursor: null };
  });

  app.delete('/api/faults', async (request, reply) => {
    await openTo(request).write([]);
    return reply.code(204).send();
  });
}

async function list(bucket: FaultBucket | undefined) {
  if (!bucket) return { revision: 0, items: [] };
  const { revision, faults } = await bucket.read();
  const hits = await bucket.hits(faults.map(({ id }) => id));
  return { revision, items: faults.map((fault) => ({ ...fault, hits: hits.get(fault.id) ?? 0 })) };
}

function refuseFlawed(faults: readonly Fault[]): void {
  const errors = faults.flatMap((fault, index) => {
    const flaw = setFlaw(fault);
    return flaw ? [{ field: `items.${index}`, message: flaw }] : [];
  });
  if (errors.length > 0) throw new Problem('unknown-fault-point', undefined, { errors });
  if (new Set(faults.map(({ id }) => id)).size !== faults.length) {
    throw new Problem('invalid-request', 'two faults have one id', {
      errors: [{ field: 'items', message: 'id' }],
    });
  }
}

function readIfMatch(request: FastifyRequest): number | undefined {
  const header = request.headers['if-match'];
  if (header === undefined) return undefined;
  const match = /^"(\d+)"$/.exec(header);
  if (match) return Number(match[1]);
  // A condition that cannot be read must not become none.
  const errors = [{ field: 'If-Match', message: 'an ETag of GET /api/faults, with its quotes' }];
  throw new Problem('invalid-request', undefined, { errors });
}
