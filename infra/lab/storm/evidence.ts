/** What a storm that was not weathered leaves beside the databases, the stream and the logs of its lab. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TimelineItem } from '#libs/contracts/orders.ts';
import { type LabApi, labApi } from '../api.ts';
import { timelineHeader, timelineLine } from '../format.ts';
import type { Lab } from '../lab.ts';
import { doneText } from './act.ts';
import type { Found } from './storm.ts';

const timelinesMax = 50;
const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

export async function keepEvidence(lab: Lab, found: Found): Promise<void> {
  const keep = (name: string, text: string) => writeFileSync(join(lab.home, name), `${text}\n`);
  const { seed, done, verdict, orders } = found;
  keep('violations.txt', [`seed ${seed}`, ...verdict.violations].join('\n'));
  keep('acts.txt', done.map((one) => `${one.act.atMs} ms  ${doneText(one)}`).join('\n'));
  keep('orders.ndjson', orders.map((order) => JSON.stringify(order)).join('\n'));
  const wrong = new Set(verdict.violations.flatMap((line) => uuid.exec(line)?.[0] ?? []));
  const api = labApi(lab.home);
  const timelines = await Promise.all([...wrong].slice(0, timelinesMax).map((id) => timelineText(api, id)));
  keep('timelines.txt', timelines.join('\n\n'));
}

async function timelineText(api: LabApi, orderId: string): Promise<string> {
  const story = await api
    .request<{ items: TimelineItem[] }>('GET', `/api/orders/${orderId}/timeline`)
    .then(({ body }) => [timelineHeader(), ...body.items.map(timelineLine)])
    .catch((error: Error) => [error.message]);
  return [orderId, ...story].join('\n');
}
