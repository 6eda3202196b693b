import { describe, expect, test } from 'vitest';
import { seeded } from '#lab/storm/random.ts';
import { type Act, actText, planStorm, type Stage } from '#lab/storm/schedule.ts';
import { linkMode } from '#libs/contracts/parts.ts';
import { faultFlaw } from '#libs/faults/points.ts';

const stage: Stage = {
  services: ['order', 'payment', 'coordinator', 'gateway'],
  databases: ['order-db', 'payment-db'],
  brokers: ['nats', 'nats-2', 'nats-3'],
  links: [
    { client: 'order', server: 'order-db' },
    { client: 'payment', server: 'nats' },
  ],
};
const lengthMs = 120_000;
const seeds = Array.from({ length: 50 }, (_, index) => index + 1);
const storms = seeds.map((seed) => planStorm(seed, lengthMs, stage));

describe('The schedule of a storm', () => {
  test('is the same for the same seed, and another for another', () => {
    expect(planStorm(7, lengthMs, stage)).toEqual(planStorm(7, lengthMs, stage));
    expect(new Set(storms.map((acts) => JSON.stringify(acts))).size).toBe(seeds.length);
  });

  test('has something going on most of the time, and of every kind', () => {
    for (const acts of storms) expect(acts.length).toBeGreaterThan(15);
    const kinds = new Set(storms.flat().map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(['fault', 'kill', 'link', 'pause', 'restart', 'stop']);
  });

  test('is calm at its end, so that what was broken can mend under load', () => {
    const late = storms.flat().filter(({ atMs, forMs }) => atMs + forMs > lengthMs - 10_000);
    expect(late).toEqual([]);
  });

  test('does nothing to a part before the last blow is over, and to one broker at a time', () => {
    const targetOf = (act: Act) => {
      if (act.kind === 'fault') return act.at;
      if (act.kind === 'link') return `${act.client} ${act.server}`;
      return stage.brokers.includes(act.part) ? 'a broker' : act.part;
    };
    for (const acts of storms) {
      for (const mine of Map.groupBy(acts, targetOf).values()) {
        for (const [index, act] of mine.slice(1).entries()) {
          const before = mine[index] as Act;
          expect(act.atMs).toBeGreaterThan(before.atMs + before.forMs);
        }
      }
    }
  });

  test('asks only for what the registry and the links can do', () => {
    for (const act of storms.flat()) {
      if (act.kind === 'fault') expect(faultFlaw(act), actText(act)).toBeNull();
      if (act.kind === 'link') expect(linkMode.safeParse(act.mode).success, actText(act)).toBe(true);
    }
  });
});

test('Seeded numbers are spread evenly, and every weight is met', () => {
  const random = seeded(42);
  const tenths = Array.from({ length: 10 }, () => 0);
  for (let draw = 0; draw < 100_000; draw++) {
    const tenth = Math.floor(random.next() * 10);
    tenths[tenth] = (tenths[tenth] ?? 0) + 1;
  }
  for (const count of tenths) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  const drawn = { often: 0, rarely: 0, never: 0 };
  for (let draw = 0; draw < 10_000; draw++) drawn[random.weighted({ often: 9, rarely: 1, never: 0 })] += 1;
  expect(Math.abs(drawn.often - 9_000)).toBeLessThan(200);
  expect(drawn.never).toBe(0);
});
