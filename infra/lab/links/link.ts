/**
 * A link: one port that one process is told in place of a server's, and what lies between. It behaves as a network
 * does that loses packets: TCP sends them again, so that connections outlive a short cut, and nothing is ever missing
 * from the middle of what they carry. Two things differ. The kernel takes in a new connection before we can refuse
 * it: during a cut it stands and hears nothing. And a server that is down shows as a reset, not as a refusal.
 */
import { connect, createServer, type Socket } from 'node:net';
import type { LinkMode, Link as LinkState } from '#libs/contracts/parts.ts';
import { createFlow, type Flow } from './flow.ts';
import { gatesOf } from './gates.ts';

export type LinkPlan = { client: string; server: string; port: number; target: number };

export type Link = {
  state(): LinkState;
  set(mode: LinkMode): void;
  close(): Promise<void>;
};

type Connection = {
  client: Socket;
  server?: Socket;
  flows: { up?: Flow; down?: Flow };
  /** The end of what its client has sent: a text may lie across two pieces. */
  tail: string;
  /** The text has passed: whatever the server answers from now on is lost. */
  isAnswerless: boolean;
};

const host = '127.0.0.1';
const connectionsMax = 2_000;
/** Nothing behind a link waits for more: a benchmark opens some hundred at once. */
const backlog = 1_024;

export async function openLink({ client, server, port, target }: LinkPlan): Promise<Link> {
  let mode: LinkMode = { mode: 'pass' };
  let gates = gatesOf(mode);
  let matchesLeft = 0;
  const connections = new Set<Connection>();
  const count = { hits: 0, resets: 0, bytesUp: 0, bytesDown: 0 };
  const hit = () => {
    count.hits += 1;
  };

  const accept = (socket: Socket) => {
    const connection: Connection = { client: socket, flows: {}, tail: '', isAnswerless: false };
    connections.add(connection);
    socket.once('close', () => {
      // Nobody is left to connect for.
      if (!connection.server) connections.delete(connection);
    });
    socket.on('error', () => undefined); // The flow passes it on; before there is one nobody needs to know.
    if (isCut(mode)) hit();
    else dial(connection);
  };

  const dial = (connection: Connection) => {
    const near = connection.client;
    if (near.destroyed) return;
    const far = connect({ host, port: target, allowHalfOpen: true, noDelay: true });
    connection.server = far;
    far.on('error', () => {
      // Nobody listens there, or not any more; later than that the flow passes it on.
      if (connection.flows.up === undefined) near.resetAndDestroy();
    });
    far.once('close', () => {
      if (near.destroyed) connections.delete(connection);
    });
    near.once('close', () => {
      if (far.destroyed) connections.delete(connection);
    });
    far.once('connect', () => {
      if (near.destroyed) return breakOff(connection);
      const up = { source: near, sink: far, gate: gates.up, onHeld: hit };
      const down = { source: far, sink: near, gate: gates.down, onHeld: hit };
      connection.flows.up = createFlow({
        ...up,
        onBytes: (bytes) => {
          count.bytesUp += bytes;
        },
        look: (bytes) => lookAtRequest(connection, bytes),
      });
      connection.flows.down = createFlow({
        ...down,
        onBytes: (bytes) => {
          count.bytesDown += bytes;
        },
        look: () => lookAtAnswer(connection),
      });
    });
  };

  /** Always passes it on: the request takes effect. */
  const lookAtRequest = (connection: Connection, bytes: Buffer): boolean => {
    if (mode.mode !== 'drop-answers' || matchesLeft === 0 || connection.isAnswerless) return true;
    const seen = connection.tail + bytes.toString('latin1').toLowerCase();
    const wanted = Buffer.from(mode.after).toString('latin1').toLowerCase();
    connection.tail = seen.slice(-wanted.length + 1 || seen.length);
    if (!seen.includes(wanted)) return true;
    matchesLeft -= 1;
    connection.isAnswerless = true;
    // Nor does its client hear that the server hangs up.
    connection.flows.down?.set({ kind: 'shut' });
    return true;
  };

  const lookAtAnswer = (connection: Connection): boolean => {
    if (!connection.isAnswerless) return true;
    hit();
    if (mode.mode === 'drop-answers' && mode.end === 'reset') breakOff(connection);
    return false;
  };

  const breakOff = ({ client: near, server: far }: Connection) => {
    near.resetAndDestroy();
    far?.resetAndDestroy();
  };

  const listener = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, accept);
  listener.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ host, port, backlog }, resolve);
  });

  return {
    state: () => ({ client, server, mode, ...count, connections: connections.size }),
    set(next) {
      if (next.mode === 'reset') {
        count.resets += connections.size;
        for (const connection of connections) breakOff(connection);
        return;
      }
      mode = next;
      gates = gatesOf(next);
      count.hits = 0;
      matchesLeft = next.mode === 'drop-answers' ? next.times : 0;
      for (const connection of connections) {
        // Something is missing from what it carries: nothing may follow it.
        if (connection.isAnswerless) breakOff(connection);
        else if (connection.server === undefined && !isCut(next)) dial(connection);
        connection.tail = '';
        connection.flows.up?.set(gates.up);
        connection.flows.down?.set(gates.down);
      }
    },
    close: () => {
      for (const connection of connections) breakOff(connection);
      return new Promise((resolve) => listener.close(() => resolve()));
    },
  };
}

/** In one direction or both: either way no new connection comes about, for its handshake needs both. */
const isCut = ({ mode }: LinkMode): boolean => mode === 'cut' || mode === 'cut-up' || mode === 'cut-down';
