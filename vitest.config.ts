import { defineConfig } from 'vitest/config';

/** Groups run one after another: the machine of a user, or of CI, may have only two cores. */
const group = (groupOrder: number) => ({ groupOrder });

const journeyMs = 60_000;
const setupMs = 120_000;

export default defineConfig({
  test: {
    // Otherwise one core fewer than there are: on two cores one file after another.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{unit,kubernetes}/*.test.ts', 'test/{choreography,generated,tidy}.test.ts'],
          sequence: group(0),
        },
      },
      {
        test: {
          name: 'step',
          include: ['test/step/*.test.ts'],
          globalSetup: 'test/support/step-server.ts',
          testTimeout: 30_000,
          hookTimeout: setupMs,
          sequence: group(1),
        },
      },
      {
        // The services' own steps under a scheduler that does its worst; SIMULATION_SEEDS says how often.
        test: {
          name: 'simulation',
          include: ['test/simulation/*.test.ts'],
          globalSetup: 'test/support/step-server.ts',
          testTimeout: setupMs,
          hookTimeout: setupMs,
          sequence: group(8),
        },
      },
      {
        // Labs of their own, on ports of their own; one file at a time, because each needs the whole machine.
        test: {
          name: 'lab',
          include: ['test/lab/*.test.ts'],
          fileParallelism: false,
          sequence: group(2),
        },
      },
      {
        // A lab with a real Jaeger; skipped with a line that says so where none can be had.
        test: {
          name: 'traces',
          include: ['test/traces/*.test.ts'],
          globalSetup: 'test/support/jaeger-setup.ts',
          fileParallelism: false,
          sequence: group(3),
        },
      },
      {
        // A deployment of its own, with Docker; without Docker one line says so.
        test: {
          name: 'containers',
          include: ['test/containers/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          sequence: group(6),
        },
      },
      {
        // All of these share one running lab and look at its sums: never two files at a time.
        test: {
          name: 'system',
          setupFiles: ['test/support/evidence.ts'],
          include: [
            'test/journeys/*.test.ts',
            'test/two-phase/*.test.ts',
            'test/security/*.test.ts',
            'test/conformance.test.ts',
            'test/checker.test.ts',
          ],
          globalSetup: 'test/support/system.ts',
          fileParallelism: false,
          testTimeout: journeyMs,
          hookTimeout: setupMs,
          sequence: group(4),
        },
      },
      {
        // A lab with patient orders: what a crash leaves comes again after 10 s, and they must still want it then.
        test: {
          name: 'faults',
          setupFiles: ['test/support/evidence.ts'],
          include: ['test/faults/*.test.ts'],
          globalSetup: 'test/support/patient-system.ts',
          fileParallelism: false,
          testTimeout: journeyMs,
          hookTimeout: setupMs,
          sequence: group(8),
        },
      },
      {
        // Two replicas of everything and three brokers, and each kind killed once.
        test: {
          name: 'scale',
          setupFiles: ['test/support/evidence.ts'],
          include: ['test/scale/*.test.ts'],
          globalSetup: 'test/support/scale.ts',
          fileParallelism: false,
          testTimeout: journeyMs,
          hookTimeout: setupMs,
          sequence: group(5),
        },
      },
      {
        // Labs of their own, each to be broken as a whole.
        test: {
          name: 'own-labs',
          include: ['test/own-labs/*.test.ts'],
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: setupMs,
          sequence: group(9),
        },
      },
      {
        // One broker after another, each of its own.
        test: {
          name: 'broker',
          include: ['test/broker/*.test.ts'],
          globalSetup: 'test/support/broker-images.ts',
          testTimeout: 30_000,
          hookTimeout: setupMs,
          sequence: group(7),
        },
      },
    ],
  },
});
