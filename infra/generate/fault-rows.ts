/**
 * The fault matrix as data: what can break, how it is broken here, what shows that it was, and the tests. From here
 * come docs/fault-matrix.md and test/unit/fault-matrix.test.ts, which looks for every test. It has more than 250
 * lines, because it is one table.
 *
 * F rows are those that any system of this kind has to stand; T rows are of two-phase commit alone.
 */
export type FaultRow = {
  id: string;
  /** What breaks. */
  what: string;
  how: string;
  /** What shows that the fault was met, and not only asked for. */
  fired: string;
  /** Rules of the checker that it is about; the whole checker runs after each. */
  rules: string;
  tests: readonly (readonly [file: string, title: string])[];
  /** What is not as the row asks for it, why, and what stands in for it. */
  standIn?: string;
};

const crashes = 'F1, F2, F3, F4, F5: at $at, then the order ends all the same';
const kills = 'F16, F17, F18, F19: $part at $at, then all databases $decision';
const faults = 'test/faults';
const crashPoints = [`${faults}/crash-points`, crashes] as const;
const twoPhaseKills = ['test/two-phase/recovery', kills] as const;
const hitsAndKills = 'one hit for each fault, and one end of the process for each hit';

export const faultRows: readonly FaultRow[] = [
  {
    id: 'F1',
    what: 'crash before the local commit',
    how: 'fault `crash` at `order.place.before-commit`: the request is lost with its process',
    fired: hitsAndKills,
    rules: 'I3 I10',
    tests: [crashPoints],
  },
  {
    id: 'F2',
    what: 'crash after the commit, before the publication',
    how: '`crash` at `….after-commit-before-publish` of every service',
    fired: hitsAndKills,
    rules: 'I6 I12',
    tests: [crashPoints],
  },
  {
    id: 'F3',
    what: 'crash after the publication, before the outbox is marked',
    how: '`crash` at `….after-publish-before-ack`: marks are written later than that, so the same crash loses them',
    fired: hitsAndKills,
    rules: 'I5',
    tests: [crashPoints],
  },
  {
    id: 'F4',
    what: 'crash, or a lost acknowledgement, after the consumer has committed',
    how: '`crash` and `drop-ack` at `….after-publish-before-ack`',
    fired: `${hitsAndKills}; the message comes again, and is counted as a repeat`,
    rules: 'I5',
    tests: [crashPoints, [`${faults}/messages`, 'F4: When an acknowledgement is lost']],
  },
  {
    id: 'F5',
    what: 'crash before the consumer commits',
    how: '`crash` at `….before-commit` of every service',
    fired: `${hitsAndKills}; the step that stands is of a later attempt`,
    rules: 'I5 I12',
    tests: [crashPoints],
  },
  {
    id: 'F6',
    what: 'a message twice, within the window in which the broker knows it, and beyond',
    how: '`duplicate`, under ids of their own; rows published again after the window, which the test makes 0.2 s',
    fired: 'both stand in the stream',
    rules: 'I5',
    tests: [
      [`${faults}/messages`, 'F6: When what a step says is published twice'],
      [
        'test/own-labs/forgetful-broker',
        'F6: When messages come again after the broker has forgotten their ids, then nothing happens twice',
      ],
    ],
  },
  {
    id: 'F7',
    what: 'reordering: a compensation before its action',
    how: 'the action is held at its step while the chain of undos passes; messages published in the wrong order; two open transactions',
    fired: 'the late step stands as `barred`, the undo as `empty`',
    rules: 'I7',
    tests: [
      ['test/journeys/cancel', 'F7: $name, then everything comes back, and the late step is barred'],
      ['test/journeys/bus', 'F7: When an undo comes before its step'],
      ['test/step/race', 'F7: When an undo meets its step in a transaction that is still open'],
    ],
  },
  {
    id: 'F8',
    what: 'a consumer that takes longer than the ack wait and does not say that it works',
    how: 'SIGSTOP with a message in hand, for 12.5 s',
    fired: 'the order stands still meanwhile, and the message is delivered again',
    rules: 'I5',
    tests: [[`${faults}/messages`, 'F8: When a consumer stands still for longer than the ack wait']],
  },
  {
    id: 'F9',
    what: 'a row of the outbox that is committed after younger ones were published',
    how: 'a prepared transaction holds the row back; two transactions of which the first one waits',
    fired: 'the older row is published later than the younger one',
    rules: 'I6',
    tests: [
      [
        `${faults}/prepared`,
        'F9, F22: an orphan stands prepared over an older row of the outbox: younger ones are published, then it is',
      ],
      ['test/step/forgotten', 'F9: A row that is committed after a younger one was published'],
    ],
  },
  {
    id: 'F10',
    what: 'a database goes down, or one of its backends',
    how: 'SIGKILL of the server, then of a single backend',
    fired: 'another process; the server log names the backend',
    rules: 'I11 I12',
    tests: [
      [
        `${faults}/network`,
        'F10: a database, or one of its backends, is killed: what was committed is there',
      ],
    ],
  },
  {
    id: 'F11',
    what: 'the answer to a COMMIT is lost',
    how: 'a link drops what comes after the request, with a reset or in silence',
    fired: 'the hits of the link; the order stands though its client was told 503',
    rules: 'I10',
    tests: [[`${faults}/network`, 'F11: the answer to a COMMIT is lost']],
  },
  {
    id: 'F12',
    what: 'the broker is down',
    how: 'SIGKILL, and 11 s without one',
    fired: 'there is no process, and no saga ends',
    rules: 'I6 I12',
    tests: [
      [
        `${faults}/network`,
        'F12: the broker is down for more than 10 s: what was accepted meanwhile is carried out',
      ],
    ],
    standIn: '11 s and not 30: longer than the ack wait, and than every pause between two tries',
  },
  {
    id: 'F13',
    what: 'the broker loses its tail, messages and consumers alike',
    how: 'stopped, its directory put back to an older copy, started',
    fired: 'the stream ends earlier than before; what was lost is counted, logged and in `/readyz`',
    rules: 'I6 I12',
    tests: [
      [
        'test/own-labs/forgetful-broker',
        'F13: When all of its store is rolled back, then what was lost is published again',
      ],
    ],
    standIn:
      'a power cut with a late fsync would do this; a killed process loses nothing, and file systems that drop what was not synced cannot be had everywhere',
  },
  {
    id: 'F14',
    what: 'the broker loses messages, and its consumers stand beyond the end',
    how: 'only the messages put back to an older copy',
    fired: 'the stream ends before what the consumer had acknowledged',
    rules: 'I6 I12',
    tests: [
      [
        'test/own-labs/forgetful-broker',
        'F14: When its stream is rolled back and its consumers are not, then they are made to read what comes',
      ],
    ],
  },
  {
    id: 'F15',
    what: 'a block of the stream is corrupt',
    how: 'a byte flipped in the newest block, and its index taken away',
    fired: 'the stream ends earlier; the loss is counted, logged and in `/readyz`',
    rules: 'I6 I12',
    tests: [
      [
        'test/own-labs/forgetful-broker',
        'F15: When a byte of a block is flipped, then what it took along is published again',
      ],
    ],
    standIn:
      'with its index left in place, NATS 2.10 serves what it can still read and says nothing ([0023](decisions/0023-broker-that-forgets.md)): then the checker finds it, by I6',
  },
  {
    id: 'F16',
    what: 'the coordinator dies before its decision is in the log',
    how: '`crash` at `coordinator.before-decision`',
    fired: 'one end of the process; the log says abort',
    rules: 'I8',
    tests: [twoPhaseKills],
  },
  {
    id: 'F17',
    what: 'the coordinator dies with its decision in the log, and nobody told',
    how: '`crash` at `coordinator.after-decision`',
    fired: 'one end of the process; the log says commit',
    rules: 'I8 I9',
    tests: [twoPhaseKills],
  },
  {
    id: 'F18',
    what: 'the coordinator dies when one participant of four has committed',
    how: '`crash` at `coordinator.after-first-commit`',
    fired: 'one end of the process; F20 looks at the databases in between',
    rules: 'I8',
    tests: [twoPhaseKills],
  },
  {
    id: 'F19',
    what: 'a participant has prepared, and its answer is lost',
    how: '`crash` at `….after-prepare` and at `….before-commit-prepared`; answers that come after the coordinator has given up',
    fired: 'one end of the process; the hits of the delay',
    rules: 'I8 I9',
    tests: [twoPhaseKills, ['test/two-phase/lost-answers', 'F19: When an answer is lost']],
  },
  {
    id: 'F20',
    what: 'the decision log has lost decisions',
    how: "the coordinator's database put back to an older copy, with one transaction committed in one database of four, and one decided and told to nobody",
    fired: 'the log does not know what it has decided; `two_phase_lost_decisions` is 2',
    rules: 'I8 I9',
    tests: [
      [
        `${faults}/lost-decisions`,
        'F20: the decision log is put back to an older copy: it alarms, guesses nothing, and an operator resolves',
      ],
      ['test/step/testimony', 'F20: When one has committed what the log has not decided'],
    ],
  },
  {
    id: 'F21',
    what: 'the coordinator is gone, and branches block',
    how: 'SIGSTOP between the votes and the decision; an operator forces branches',
    fired: 'all four branches are listed, with their locks and who waits',
    rules: 'I8 I9',
    tests: [
      [
        'test/two-phase/in-doubt',
        'F21: When the coordinator stands still between the votes and the decision',
      ],
      ['test/two-phase/operator', 'F21, T7: When somebody asks for a branch to be ended'],
    ],
    standIn:
      'nobody waits for ever: it comes back after seconds, and what an operator can do meanwhile is done',
  },
  {
    id: 'F22',
    what: 'the relay beside an orphaned prepared transaction',
    how: 'a branch stands prepared in the database of order, and order dies between commit and publication',
    fired: 'the hits of both; the relay counts what it published, and the branch is still in doubt',
    rules: 'I6',
    tests: [
      [
        `${faults}/prepared`,
        'F9, F22: an orphan stands prepared over an older row of the outbox: younger ones are published, then it is',
      ],
    ],
  },
  {
    id: 'F23',
    what: 'the network is cut, both ways and one way',
    how: 'links `cut`, `cut-up` and `cut-down`: one service from the broker, another from its database',
    fired: 'the hits of the links; who is cut off turns red',
    rules: 'I8 I12',
    tests: [[`${faults}/network`, 'F23: the network is cut']],
  },
  {
    id: 'F24',
    what: 'connections are slow, sliced and reset',
    how: 'links `latency`, `slice` and `reset`, all of them',
    fired: 'the hits of the links',
    rules: 'I12',
    tests: [[`${faults}/network`, 'F24: connections are slow, sliced and reset: later, and the same']],
    standIn:
      'a bound for every order stands in for a percentile, which says nothing on a machine of two cores',
  },
  {
    id: 'F25',
    what: 'a process stands still that everybody takes for alive',
    how: 'SIGSTOP of each kind in turn; of a coordinator before its decision, until another one has decided',
    fired: 'the same process before and after; its dependants turn red within 8 s',
    rules: 'I8 I12',
    tests: [
      [`${faults}/network`, 'F25: a process stands still that everybody takes for alive'],
      [
        `${faults}/still-broker`,
        'F25: what was asked for while the broker stood still comes as soon as it goes on',
      ],
      [
        'test/two-phase/two-coordinators',
        'F25, F26: When one of two coordinators stands still between the votes and its decision',
      ],
    ],
  },
  {
    id: 'F26',
    what: 'two relays, two coordinators',
    how: 'two relays on one outbox; a second coordinator on the same log, under load, killed, standing still',
    fired: 'both have published; the log names both',
    rules: 'I5 I8',
    tests: [
      ['test/step/outbox', 'F26: then two relays share them, and none is under way twice at the same time'],
      [
        'test/two-phase/two-coordinators',
        'F26: When two coordinators place orders on the same wallets and dishes',
      ],
      ['test/two-phase/two-coordinators', 'F26: When one of two coordinators is killed'],
      [
        'test/two-phase/two-coordinators',
        'F25, F26: When one of two coordinators stands still between the votes and its decision',
      ],
      ['test/two-phase/inquiry', 'F26: When somebody else decides first'],
    ],
  },
  {
    id: 'F27',
    what: 'clocks are wrong, against each other, and jump',
    how: 'the Date of order, payment and coordinator ±150 s, in opposite directions, under load; there and back',
    fired: 'the orders, journals and answers bear those times',
    rules: 'I4 I12',
    tests: [
      [
        `${faults}/clocks`,
        'F27: clocks jump by more than a deadline, there and back: none passes early or late, and causes come first',
      ],
    ],
    standIn:
      "libfaketime is not on every machine: a preload moves `Date`. Ids, spans and PostgreSQL keep the machine's clock; 150 s and not 90, to be more than an order's deadline there",
  },
  {
    id: 'F28',
    what: 'a disk is full',
    how: 'a small tmpfs under a database and under the broker, filled',
    fired: 'PostgreSQL ends itself and says why; the broker refuses to store',
    rules: 'I11 I12',
    tests: [['test/lab/disk-full', 'F28: A full disk']],
    standIn: 'left out with a line that says so where nobody may mount a tmpfs',
  },
  {
    id: 'F29',
    what: 'poison: a message that can never be handled',
    how: 'bad JSON, wrong types, the largest message that the broker takes, a step that always fails',
    fired: 'each is a dead letter with its reason',
    rules: 'I12',
    tests: [
      ['test/journeys/bus', 'F29: When a message comes that no schema accepts'],
      [`${faults}/poison`, 'F29: A step that fails every time, because of its service'],
      [
        `${faults}/poison`,
        'F29: A message as large as the broker takes is kept whole, and told to the stream in short',
      ],
    ],
  },
  {
    id: 'F30',
    what: 'malformed HTTP',
    how: 'requests with two readings, 600 bodies broken at random from a seed',
    fired: 'each is answered with 4xx and a problem',
    rules: 'I4',
    tests: [
      [`${faults}/hostile-clients`, 'F30: A request that can be read in two ways, or in none'],
      [`${faults}/hostile-clients`, 'F30: A body that was broken at random'],
    ],
  },
  {
    id: 'F31',
    what: 'a hostile client',
    how: 'ten thousand keys, slow requests, a key again, an event in the name of another service',
    fired: 'each is counted by its answer',
    rules: 'I10',
    tests: [
      [`${faults}/hostile-clients`, 'F31: Ten thousand keys'],
      ['test/security/http', 'F31: A request that is sent slowly'],
      ['test/journeys/requests', 'F31: When an order is placed under an Idempotency-Key'],
      [
        'test/security/broker',
        'F31: a service that says what another says is refused, and nothing is stored',
      ],
    ],
  },
  {
    id: 'F32',
    what: 'a compensation fails',
    how: '`error` at `payment.refund`, nine times',
    fired: 'eight attempts, then it is listed as stuck until it succeeds',
    rules: 'I1 I3',
    tests: [[`${faults}/poison`, 'F32: An undo that fails every time']],
  },
  {
    id: 'F33',
    what: 'a race for the last portion',
    how: 'a hundred orders at once for a dish of which one is left: saga, two-phase commit one by one, in groups',
    fired: 'ninety-nine are refused for it',
    rules: 'I2',
    tests: [[`${faults}/last-unit`, 'F33: a hundred orders want the last portion at once']],
  },
  {
    id: 'F34',
    what: 'somebody changes the broker by hand',
    how: 'the stream is purged, a consumer deleted',
    fired: 'what was lost is counted, logged and in `/readyz`; the consumer is another one',
    rules: 'I6 I12',
    tests: [
      ['test/own-labs/forgetful-broker', 'F34: When its stream is purged, then the outboxes fill it again'],
      [
        'test/own-labs/forgetful-broker',
        'F34: When a consumer is deleted, then its service says so, and goes on with the one that the keeper makes',
      ],
    ],
  },
  {
    id: 'F35',
    what: 'many of these at once, from a seed',
    how: '`npx lab storm` on a lab of its own: every fault point with every action; kills, pauses, stops and restarts of services, databases and brokers; every mode of a link. Not what is done to data, clocks and disks (F13–F15, F20, F27, F28, F34), and no poison (F29)',
    fired: 'it counts the acts that bit',
    rules: 'all',
    tests: [['test/own-labs/storm', 'F35: A storm is weathered, and most of what it does bites']],
    standIn: '30 s in the tests, for their time; five minutes and more by hand ([storm.md](storm.md))',
  },
  {
    id: 'T1',
    what: 'databases die while their branches are in doubt',
    how: 'SIGKILL of two of them',
    fired: 'one end of each process',
    rules: 'I8 I9',
    tests: [['test/two-phase/recovery', 'T1: When databases are killed while their branches are in doubt']],
  },
  {
    id: 'T2',
    what: 'the decision log dies between the votes and the decision: alone, for longer than anybody tries, and with its coordinator',
    how: 'SIGKILL of one, held down, of both',
    fired: 'one end of each process; an answer that says that nobody knows',
    rules: 'I8 I9',
    tests: [
      ['test/two-phase/recovery', 'T2: When the decision log is killed between the votes and the decision'],
    ],
  },
  {
    id: 'T3',
    what: 'a participant hangs before it commits',
    how: '`hang` at `inventory.reserve.before-commit-prepared`',
    fired: 'its hit; its branch alone is in doubt',
    rules: 'I8 I9',
    tests: [[`${faults}/two-phase`, 'T3: When a participant hangs before it commits']],
  },
  {
    id: 'T4',
    what: 'the coordinator hangs after the votes',
    how: '`hang` at `coordinator.before-decision`',
    fired: 'its hit; four branches are in doubt',
    rules: 'I8 I9',
    tests: [[`${faults}/two-phase`, 'T4: When the coordinator hangs after the votes']],
  },
  {
    id: 'T5',
    what: 'a command that comes too late: a prepare after the abort, an abort before the branch',
    how: 'single commands to single participants',
    fired: 'the branch is barred',
    rules: 'I8',
    tests: [['test/two-phase/messages', 'T5: When a message comes too late']],
  },
  {
    id: 'T6',
    what: 'every command twice',
    how: 'single commands to single participants, one after the other and at once',
    fired: 'both are answered',
    rules: 'I5 I8',
    tests: [['test/two-phase/messages', 'T6: When a participant is told the same thing twice']],
  },
  {
    id: 'T7',
    what: 'an operator decides against the log',
    how: 'branches forced, with token and confirmation',
    fired: 'the checker names the branch and the operator',
    rules: 'I8',
    tests: [['test/two-phase/operator', 'F21, T7: When somebody asks for a branch to be ended']],
  },
  {
    id: 'T8',
    what: 'one order of a group is refused by one participant, or breaks the whole group',
    how: 'orders that must be refused among others that must not; `refuse` at `order.confirm`, `error` at `inventory.reserve`',
    fired: 'they are cancelled with their reason; the hits; others of the group had to be tried again',
    rules: 'I3 I8',
    tests: [
      ['test/two-phase/together', 'T8: When many orders share their transactions'],
      ['test/two-phase/together', 'T8: When a few of many orders that share their transactions break them'],
    ],
  },
  {
    id: 'T9',
    what: 'everything dies once, under load',
    how: 'SIGKILL of six parts, one after another',
    fired: 'one end of each process',
    rules: 'I8 I10 I12',
    tests: [['test/two-phase/recovery', 'T9: When every part is killed under orders of two-phase commit']],
  },
];
