/** docs/asyncapi.json: the events on the bus, who says them and who reacts, from the registry and the rows. */
import { z } from 'zod';
import {
  batchContentType,
  type EventType,
  envelope,
  eventsPerMessageMax,
  eventTypeNames,
  eventTypes,
} from '#libs/contracts/events.ts';
import { streams } from '#libs/nats/streams.ts';
import { actionOf, flow } from './flow.ts';
import { converter } from './json-schema.ts';

const nanosPerSecond = 1_000_000_000;

export function asyncApi() {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Saga Lab events',
      version: '1',
      description:
        'CloudEvents 1.0 in JSON batch format on NATS JetStream. One message holds the events of one type that one transaction decided; its subject is their type, its Nats-Msg-Id the outbox row.',
      license: { name: 'Apache-2.0' },
    },
    defaultContentType: batchContentType,
    'x-jetstream': { streams: streams.map(streamFacts) },
    servers: { broker: { host: '127.0.0.1:26020', protocol: 'nats', description: "The lab's default port" } },
    channels: Object.fromEntries(eventTypeNames.map((type) => [type, channel(type)])),
    operations: Object.fromEntries([...eventTypeNames.flatMap(saying), ...flow.flatMap(hearing)]),
    components: { messages: Object.fromEntries(eventTypeNames.map((type) => [type, message(type)])) },
  };
}

function channel(type: EventType) {
  return {
    address: type,
    messages: { [type]: { $ref: `#/components/messages/${type}` } },
    servers: [{ $ref: '#/servers/broker' }],
  };
}

function message(type: EventType) {
  const { source, data } = eventTypes[type];
  const event = envelope.extend({ type: z.literal(type), source: z.literal(source), data });
  const schemas = converter({}, 'output');
  return {
    name: type,
    contentType: batchContentType,
    headers: {
      type: 'object',
      properties: {
        'Nats-Msg-Id': { type: 'string', format: 'uuid' },
        'Content-Type': { const: batchContentType },
      },
      required: ['Nats-Msg-Id', 'Content-Type'],
    },
    payload: { ...schemas.use(z.array(event).min(1).max(eventsPerMessageMax)) },
  };
}

const reference = (type: string) => ({
  channel: { $ref: `#/channels/${type}` },
  messages: [{ $ref: `#/channels/${type}/messages/${type}` }],
});

/** Operations are named after who does what, such as `payment says payment.completed`. */
function saying(type: EventType): [string, object][] {
  const { source } = eventTypes[type];
  const steps = flow.filter((row) => row.saysDone === type || row.saysRefused === type).map(actionOf);
  const facts = { action: 'send', ...reference(type), 'x-service': source, 'x-steps': [...new Set(steps)] };
  return [[`${source}-says-${type}`, facts]];
}

function hearing(row: (typeof flow)[number]): [string, object][] {
  if (row.on.startsWith('request:')) return [];
  const facts = {
    action: 'receive',
    ...reference(row.on),
    'x-service': row.service,
    'x-step': actionOf(row),
    'x-direction': row.direction,
    'x-jetstream': { durable: row.service, ack: 'explicit' },
  };
  return [[`${row.service}-hears-${row.on}`, facts]];
}

function streamFacts(stream: (typeof streams)[number]) {
  const { name, subjects, storage, max_age } = stream;
  const window =
    'duplicate_window' in stream ? { duplicateWindowSeconds: stream.duplicate_window / nanosPerSecond } : {};
  return {
    name,
    subjects,
    storage,
    maxAgeSeconds: max_age / nanosPerSecond,
    ...window,
    syncInterval: 'always',
  };
}
