/**
 * `NATS_URL`: one address or several, separated by commas, with user and password on the first. The client
 * does not read them there. A user has its replies on inboxes of its own, which nobody else may listen to.
 */
import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node';

type Address = Pick<ConnectionOptions, 'user' | 'pass' | 'token' | 'inboxPrefix'> & { servers: string[] };

/** Without user and password it is somebody's own broker, and the client's defaults hold. */
export function readNatsUrl(text: string): Address {
  const urls = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => new URL(part.includes('://') ? part : `nats://${part}`));
  const servers = urls.map(({ protocol, host }) => `${protocol}//${host}`);
  const named = urls.find(({ username }) => username !== '');
  if (!named) return { servers };
  const user = decodeURIComponent(named.username);
  // A name alone is a token, as everywhere in NATS.
  if (named.password === '') return { servers, token: user };
  return { servers, user, pass: decodeURIComponent(named.password), inboxPrefix: inboxPrefixOf(user) };
}

export const inboxPrefixOf = (user: string): string => `_INBOX_${user}`;

/** What replies to this connection begin with. The client knows, but its type does not say so. */
export function inboxPrefix(connection: NatsConnection): string | undefined {
  return (connection as { options?: ConnectionOptions }).options?.inboxPrefix;
}
