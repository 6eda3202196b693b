/**
 * infra/nats/consumers.json: which subjects each service's durable consumer delivers, from its reactions.
 * Written down, so that provisioning the broker does not load every service.
 */
import { definitions } from './flow.ts';

export function consumersJson(): string {
  const rows = definitions.map(({ name, reactions }) => {
    const subjects = reactions.map(({ on }) => on as string).filter((on) => !on.startsWith('request:'));
    return [name, [...new Set(subjects)]];
  });
  return `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`;
}
