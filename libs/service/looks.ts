/**
 * Values that are read when Prometheus asks: of the database, of the broker. A scrape never fails and never waits
 * for long because of them: what cannot be read in time is missing from the page, and counted.
 */
import { Counter, Gauge, type Registry } from 'prom-client';

/** Several scrapers share one look. */
const freshMs = 1_000;
const withinMs = 1_000;

export type Look = () => Promise<void>;

/** `set` is given the values, or undefined when they are not known. One read at a time, however long it takes. */
function createLook<Values>(options: {
  read(): Promise<Values>;
  set(values: Values | undefined): void;
  onFailed(): void;
}): Look {
  const { read, set, onFailed } = options;
  let underWay: Promise<void> | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;

  const look = async () => {
    try {
      set(await read());
      readAtMs = performance.now();
    } catch {
      set(undefined);
      onFailed();
    } finally {
      underWay = undefined;
    }
  };

  return async () => {
    if (performance.now() - readAtMs < freshMs) return;
    underWay ??= look();
    const done = underWay.then(() => true);
    if (await Promise.race([done, pause(withinMs)])) return;
    set(undefined);
    onFailed();
  };
}

type Row<Name extends string> = Partial<Record<Name, number | null>>;

/** Gauges without labels that come and go with what is known. A null is missing on the page. */
function createGauges<Name extends string>(registry: Registry, help: Record<Name, string>) {
  const names = Object.keys(help) as Name[];
  const gauges = names.map((name) => new Gauge({ name, help: help[name], registers: [registry] }));
  const set = (values: Row<Name> | undefined): void => {
    names.forEach((name, index) => {
      const value = values?.[name];
      if (typeof value === 'number') gauges[index]?.set(value);
      else gauges[index]?.remove();
    });
  };
  // A gauge is born as 0, which nobody has read.
  set(undefined);
  return set;
}

export function createLooks(registry: Registry) {
  const failed = new Counter({
    name: 'saga_looks_failed_total',
    help: 'Times that values of this page could not be read in time, and were missing',
    labelNames: ['at'],
    registers: [registry],
  });
  const looks: Look[] = [];
  return {
    /** Adds what is read of `at` at every scrape. */
    add<Name extends string>(at: string, help: Record<Name, string>, read: () => Promise<Row<Name>>): void {
      failed.inc({ at }, 0);
      const set = createGauges(registry, help);
      looks.push(createLook({ read, set, onFailed: () => failed.inc({ at }) }));
    },
    /** The page. */
    async metrics(): Promise<string> {
      await Promise.all(looks.map((look) => look()));
      return registry.metrics();
    },
  };
}

export type Looks = ReturnType<typeof createLooks>;

const pause = (ms: number) => new Promise<false>((resolve) => setTimeout(resolve, ms, false).unref());
