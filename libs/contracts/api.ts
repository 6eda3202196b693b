/**
 * The routes of the public port as data: from these rows come the OpenAPI document and the test
 * that the gateway serves exactly these. Paths are written as the router takes them.
 * It has more than 250 lines, because it is one table.
 */
import { z } from 'zod';
import { faultsBody } from '#libs/faults/fault.ts';
import * as answers from './answers.ts';
import * as letters from './dead-letters.ts';
import {
  cancelBody,
  courier,
  dishParams,
  listOf,
  listQuery,
  notification,
  notificationListQuery,
  order,
  orderListQuery,
  orderParams,
  placeOrderBody,
  stockItem,
  wallet,
  walletParams,
} from './orders.ts';
import { link, linkMode, linkParams, part, partActBody, partActParams } from './parts.ts';
import type { ProblemCode } from './problems.ts';
import { gidParams, resolution, resolveBody } from './two-phase.ts';

export type ApiAnswer = {
  means: string;
  /** Absent: no body, or one that is not JSON. */
  schema?: z.ZodType;
  /** Where it is not application/json. */
  contentType?: string;
  headers?: readonly string[];
};

export type ApiRoute = {
  id: string;
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  tag: 'orders' | 'resources' | 'faults' | 'observing' | 'health';
  summary: string;
  params?: z.ZodObject;
  query?: z.ZodObject;
  headers?: z.ZodObject;
  body?: z.ZodType;
  example?: unknown;
  answers: Readonly<Record<number, ApiAnswer>>;
  problems: readonly ProblemCode[];
};

/** What any route can answer when something is wrong with the URL, with a part of the lab, or with us. */
export const commonProblems: readonly ProblemCode[] = [
  'invalid-url',
  'request-timeout',
  'headers-too-large',
  'too-many-requests',
  'service-unavailable',
  'internal-error',
];
/** Where only an operator may. */
const operator: readonly ProblemCode[] = ['admin-token-required', 'forbidden-origin'];
const body: readonly ProblemCode[] = [
  'invalid-request',
  'invalid-json',
  'body-too-large',
  'unsupported-media-type',
];

/** Schemas that stand under their own name in the OpenAPI document. */
export const components = {
  PlaceOrder: placeOrderBody,
  CancelOrder: cancelBody,
  SetFaults: faultsBody,
  LinkMode: linkMode,
  Order: order,
  OrderList: listOf(order),
  Timeline: answers.timeline,
  Wallet: wallet,
  WalletList: listOf(wallet),
  StockItem: stockItem,
  StockList: listOf(stockItem),
  CourierList: listOf(courier),
  NotificationList: listOf(notification),
  FaultState: answers.faultState,
  FaultList: listOf(answers.activeFault),
  Part: part,
  PartList: listOf(part),
  LinkList: listOf(link),
  InDoubtList: answers.inDoubtList,
  DeadLetterList: letters.deadLetterList,
  DeadLetter: letters.deadLetter,
  ReplayedLetter: letters.replayed,
  StuckList: letters.stuckList,
  Invariants: answers.invariants,
  Problem: answers.problem,
} as const;

const orderHeaders = z.object({
  'Idempotency-Key': z
    .string()
    .optional()
    .describe('1 to 200 visible ASCII characters, quoted or not: the same key is the same order'),
  Prefer: z
    .string()
    .optional()
    .describe('`wait=5`: answer with the finished order, if it ends within 5 s (30 at most)'),
});

export const apiRoutes: readonly ApiRoute[] = [
  {
    id: 'placeOrder',
    method: 'POST',
    path: '/api/orders',
    tag: 'orders',
    summary: 'Place an order',
    headers: orderHeaders,
    body: placeOrderBody,
    example: {
      customerId: 'asha',
      city: 'bengaluru',
      items: [{ dishId: 'masala-dosa', quantity: 2 }],
      faults: [{ at: 'inventory.reserve', do: 'refuse' }],
    },
    answers: {
      201: {
        means:
          'The order has ended: within the time that the caller was ready to wait, or by two-phase commit',
        schema: order,
        headers: ['Location', 'Preference-Applied', 'Idempotency-Replayed'],
      },
      202: {
        means: 'The order is accepted, durably, and under way',
        schema: order,
        headers: ['Location', 'Preference-Applied', 'Idempotency-Replayed'],
      },
    },
    problems: [
      ...body,
      'invalid-idempotency-key',
      'unknown-dish',
      'unknown-city',
      'unknown-fault-point',
      'faults-off',
      ...operator,
      'order-too-large',
      'order-refused',
      'order-refused-by-participant',
      'transaction-aborted',
      'idempotency-key-reused',
      'idempotency-key-in-flight',
      'overloaded',
    ],
  },
  {
    id: 'listOrders',
    method: 'GET',
    path: '/api/orders',
    tag: 'orders',
    summary: 'List orders, the newest first',
    query: orderListQuery,
    answers: { 200: { means: 'A page of orders', schema: components.OrderList } },
    problems: ['invalid-request', 'invalid-cursor'],
  },
  {
    id: 'getOrder',
    method: 'GET',
    path: '/api/orders/:orderId',
    tag: 'orders',
    summary: 'Read an order',
    params: orderParams,
    answers: { 200: { means: 'The order', schema: order } },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'cancelOrder',
    method: 'POST',
    path: '/api/orders/:orderId/cancel',
    tag: 'orders',
    summary: 'Cancel an order that is not yet dispatched',
    params: orderParams,
    body: cancelBody,
    answers: {
      200: { means: 'It was cancelled before', schema: order, headers: ['Location'] },
      202: { means: 'It will be cancelled, whatever is under way', schema: order, headers: ['Location'] },
    },
    problems: [...body, 'not-found', 'order-already-dispatched', 'overloaded'],
  },
  {
    id: 'getTimeline',
    method: 'GET',
    path: '/api/orders/:orderId/timeline',
    tag: 'orders',
    summary: 'Read what happened to an order, in causal order',
    params: orderParams,
    answers: {
      200: { means: 'Every step and undo, from the journals of all services', schema: components.Timeline },
    },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'listInDoubt',
    method: 'GET',
    path: '/api/in-doubt',
    tag: 'observing',
    summary: 'List what stands prepared and waits for its decision, with its locks and who waits for them',
    answers: { 200: { means: 'Per database, the oldest first', schema: components.InDoubtList } },
    problems: [],
  },
  {
    id: 'resolveInDoubt',
    method: 'POST',
    path: '/api/in-doubt/:gid/resolve',
    tag: 'observing',
    summary: 'End a branch in doubt: as the coordinator decides, or by force',
    params: gidParams,
    body: resolveBody,
    example: {},
    answers: { 200: { means: 'How it was ended, and by whom', schema: resolution } },
    problems: [...body, 'not-found', 'undecided', 'ended-otherwise', ...operator, 'confirmation-differs'],
  },
  {
    id: 'listWallets',
    method: 'GET',
    path: '/api/wallets',
    tag: 'resources',
    summary: 'List wallets',
    query: listQuery,
    answers: { 200: { means: 'A page of wallets', schema: components.WalletList } },
    problems: ['invalid-request'],
  },
  {
    id: 'getWallet',
    method: 'GET',
    path: '/api/wallets/:customerId',
    tag: 'resources',
    summary: "Read a customer's wallet",
    params: walletParams,
    answers: { 200: { means: 'The wallet; amounts are paise', schema: wallet } },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'listStock',
    method: 'GET',
    path: '/api/stock',
    tag: 'resources',
    summary: 'List dishes with their stock',
    query: listQuery,
    answers: { 200: { means: 'A page of dishes', schema: components.StockList } },
    problems: ['invalid-request'],
  },
  {
    id: 'getStock',
    method: 'GET',
    path: '/api/stock/:dishId',
    tag: 'resources',
    summary: "Read a dish's stock",
    params: dishParams,
    answers: { 200: { means: 'The dish', schema: stockItem } },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'listCouriers',
    method: 'GET',
    path: '/api/couriers',
    tag: 'resources',
    summary: 'List couriers with the orders that they carry',
    query: listQuery,
    answers: { 200: { means: 'A page of couriers', schema: components.CourierList } },
    problems: ['invalid-request'],
  },
  {
    id: 'listNotifications',
    method: 'GET',
    path: '/api/notifications',
    tag: 'resources',
    summary: 'List what customers were told, the newest first',
    query: notificationListQuery,
    answers: { 200: { means: 'A page of notifications', schema: components.NotificationList } },
    problems: ['invalid-request'],
  },
  {
    id: 'getFaults',
    method: 'GET',
    path: '/api/faults',
    tag: 'faults',
    summary: 'List the faults that are set, with their hits, and all fault points',
    answers: {
      200: {
        means: 'The faults; the ETag is for If-Match',
        schema: components.FaultState,
        headers: ['ETag'],
      },
    },
    problems: [],
  },
  {
    id: 'setFaults',
    method: 'PUT',
    path: '/api/faults',
    tag: 'faults',
    summary: 'Replace all faults',
    headers: z.object({
      'If-Match': z.string().optional().describe('only if nobody else changed them since'),
    }),
    body: faultsBody,
    example: { items: [{ at: 'payment.refund', do: 'error', scope: { customerId: 'asha' }, hitsMax: 3 }] },
    answers: { 200: { means: 'They are set', schema: components.FaultList, headers: ['ETag'] } },
    problems: [...body, 'unknown-fault-point', 'faults-off', ...operator, 'faults-changed'],
  },
  {
    id: 'resetFaults',
    method: 'DELETE',
    path: '/api/faults',
    tag: 'faults',
    summary: 'End all faults',
    answers: { 204: { means: 'No fault is set' } },
    problems: ['faults-off', ...operator],
  },
  {
    id: 'listParts',
    method: 'GET',
    path: '/api/parts',
    tag: 'faults',
    summary: 'List the processes of the lab: services with their replicas, databases, brokers',
    answers: { 200: { means: 'Every part as it is now', schema: components.PartList } },
    problems: ['no-launcher'],
  },
  {
    id: 'actOnPart',
    method: 'POST',
    path: '/api/parts/:name/:act',
    tag: 'faults',
    summary: 'Kill, pause, resume, restart, stop or start a process',
    params: partActParams,
    body: partActBody.optional(),
    example: {},
    answers: {
      200: { means: 'It is done: the part as it is now', schema: components.Part },
      202: { means: 'It is the gateway that answers, which will do it to itself', schema: components.Part },
    },
    problems: [...body, 'not-found', 'part-not-running', 'part-answers', 'no-launcher', ...operator],
  },
  {
    id: 'listLinks',
    method: 'GET',
    path: '/api/links',
    tag: 'faults',
    summary:
      'List the connections between processes and their servers that can be cut; none without --proxies',
    answers: { 200: { means: 'Each with its mode and what it has bitten', schema: components.LinkList } },
    problems: ['no-launcher'],
  },
  {
    id: 'setLink',
    method: 'PUT',
    path: '/api/links/:client/:server',
    tag: 'faults',
    summary: 'Cut, delay, slow, slice or reset the connections of one process to one server (or `all`)',
    params: linkParams,
    body: linkMode,
    example: { mode: 'latency', ms: 200 },
    answers: { 200: { means: 'The links that are changed', schema: components.LinkList } },
    problems: [...body, 'not-found', 'links-off', 'no-launcher', ...operator],
  },
  {
    id: 'listDeadLetters',
    method: 'GET',
    path: '/api/dead-letters',
    tag: 'observing',
    summary: 'List what could not be handled, with the reason',
    query: letters.deadLettersQuery,
    answers: {
      200: { means: 'A page of dead letters, the newest first', schema: components.DeadLetterList },
    },
    problems: ['invalid-request'],
  },
  {
    id: 'getDeadLetter',
    method: 'GET',
    path: '/api/dead-letters/:id',
    tag: 'observing',
    summary: 'Read a dead letter, with the headers and the body of its message',
    params: letters.letterParams,
    answers: { 200: { means: 'The letter', schema: components.DeadLetter } },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'replayDeadLetter',
    method: 'POST',
    path: '/api/dead-letters/:id/replay',
    tag: 'observing',
    summary: 'Have a dead letter handled again by its service; the journal lets it take effect once',
    params: letters.letterParams,
    answers: { 200: { means: 'It was handled, and what came of it', schema: components.ReplayedLetter } },
    problems: ['invalid-request', 'not-found', 'replay-failed', ...operator],
  },
  {
    id: 'discardDeadLetter',
    method: 'POST',
    path: '/api/dead-letters/:id/discard',
    tag: 'observing',
    summary: 'Put a dead letter away; it stays readable until it is forgotten',
    params: letters.letterParams,
    answers: { 200: { means: 'It is discarded', schema: components.DeadLetter } },
    problems: ['invalid-request', 'not-found', 'letter-replayed', ...operator],
  },
  {
    id: 'listStuck',
    method: 'GET',
    path: '/api/stuck',
    tag: 'observing',
    summary:
      'List undos that fail again and again; they are retried for ever, and leave the list when they succeed',
    answers: { 200: { means: 'The oldest first', schema: components.StuckList } },
    problems: [],
  },
  {
    id: 'checkInvariants',
    method: 'GET',
    path: '/api/invariants',
    tag: 'observing',
    summary: 'Check every invariant against all databases and the stream',
    query: answers.invariantsQuery,
    answers: { 200: { means: 'Which rules hold, with the first violations', schema: components.Invariants } },
    problems: ['invalid-request'],
  },
  {
    id: 'followEvents',
    method: 'GET',
    path: '/api/events',
    tag: 'observing',
    summary:
      'Follow the events as they are published (server-sent events; asyncapi.json says what they hold)',
    query: answers.eventsQuery,
    headers: answers.eventsHeaders,
    answers: {
      200: { means: 'One server-sent event per CloudEvent, for ever', contentType: 'text/event-stream' },
    },
    problems: ['invalid-request'],
  },
  {
    id: 'getTrace',
    method: 'GET',
    path: '/api/traces/:traceId',
    tag: 'observing',
    summary: "Read an order's trace from Jaeger, as Jaeger answers it",
    params: answers.traceParams,
    answers: { 200: { means: 'The trace', schema: z.looseObject({ data: z.array(z.unknown()) }) } },
    problems: ['invalid-request', 'not-found'],
  },
  {
    id: 'getOpenApi',
    method: 'GET',
    path: '/api/openapi.json',
    tag: 'observing',
    summary: 'This document',
    answers: { 200: { means: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
    problems: [],
  },
  {
    id: 'getAsyncApi',
    method: 'GET',
    path: '/api/asyncapi.json',
    tag: 'observing',
    summary: 'The events on the bus',
    answers: { 200: { means: 'AsyncAPI 3.0', schema: z.looseObject({ asyncapi: z.string() }) } },
    problems: [],
  },
  {
    id: 'isLive',
    method: 'GET',
    path: '/livez',
    tag: 'health',
    summary: 'Whether the process runs',
    answers: { 200: { means: 'It does', schema: answers.liveness } },
    problems: [],
  },
  {
    id: 'isReady',
    method: 'GET',
    path: '/readyz',
    tag: 'health',
    summary: 'Whether the broker and every service can be reached',
    answers: {
      200: { means: 'All of them', schema: answers.readiness },
      503: { means: 'Not all of them', schema: answers.readiness },
    },
    problems: [],
  },
  {
    id: 'getMetrics',
    method: 'GET',
    path: '/metrics',
    tag: 'health',
    summary: 'Metrics for Prometheus',
    answers: { 200: { means: 'In the Prometheus text format', contentType: 'text/plain' } },
    problems: [],
  },
];
