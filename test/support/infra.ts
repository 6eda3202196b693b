/**
 * Where the integration suites take PostgreSQL and NATS from. `TEST_INFRA=containers` or `embedded` says it;
 * otherwise containers are used when a Docker engine answers at once and has the images, so that a test run
 * never waits for a download that nobody asked for.
 */
import { type ContainerRuntimeClient, getContainerRuntimeClient, ImageName } from 'testcontainers';

export type Infra = 'containers' | 'embedded';

/** With `why`, for the one line that says what a run has used. */
export type Choice = { infra: Infra; why: string };

/** As docker-compose.yml takes it. */
export const postgresImage = process.env.POSTGRES_IMAGE ?? 'postgres:18-alpine';
/** The oldest that the services accept, and the one that docker-compose.yml takes. */
export const brokerImages = ['nats:2.10-alpine', process.env.NATS_IMAGE ?? 'nats:2.12-alpine'] as const;
/** What testcontainers itself needs: it removes what a killed test run leaves behind. */
const reaperImage = process.env.RYUK_CONTAINER_IMAGE ?? 'testcontainers/ryuk:0.14.0';
const isReaperOff = process.env.TESTCONTAINERS_RYUK_DISABLED === 'true';

const engineAnswersWithinMs = 3_000;

/** For a suite that cannot do with less than these images. */
export async function chooseInfra(
  images: readonly string[],
  wanted: string | undefined = process.env.TEST_INFRA,
): Promise<Choice> {
  if (wanted !== undefined && wanted !== '' && wanted !== 'containers' && wanted !== 'embedded') {
    throw new Error(`TEST_INFRA is '${wanted}': it may be 'containers', 'embedded', or unset`);
  }
  if (wanted === 'embedded') return { infra: 'embedded', why: 'TEST_INFRA=embedded' };
  const engine = await findEngine();
  if (wanted === 'containers') {
    if (engine === undefined) throw new Error('TEST_INFRA=containers, and no Docker engine answers');
    return { infra: 'containers', why: 'TEST_INFRA=containers; a missing image is pulled' };
  }
  if (engine === undefined) return { infra: 'embedded', why: 'no Docker engine answers' };
  const missing = await missingImages(engine, images);
  if (missing.length > 0) return { infra: 'embedded', why: `Docker is here without ${missing.join(', ')}` };
  return { infra: 'containers', why: `Docker is here with ${images.join(', ')}` };
}

/** Why a suite that has its containers beside the embedded ones must do without; undefined when it need not. */
export async function whyNoContainers(images: readonly string[]): Promise<string | undefined> {
  const { infra, why } = await chooseInfra(images);
  return infra === 'containers' ? undefined : why;
}

export function sayChoice(suite: string, what: string, { infra, why }: Choice): void {
  const source = infra === 'containers' ? 'containers' : "the lab's embedded server";
  process.stderr.write(`${suite}: ${what} from ${source} (${why})\n`);
}

async function findEngine(): Promise<ContainerRuntimeClient | undefined> {
  const late = Promise.withResolvers<undefined>();
  // An engine that is starting, or stands still, would hold up the whole run.
  const timer = setTimeout(() => late.resolve(undefined), engineAnswersWithinMs);
  try {
    return await Promise.race([getContainerRuntimeClient(), late.promise]);
  } catch {
    return undefined; // testcontainers throws when none of its ways to an engine works.
  } finally {
    clearTimeout(timer);
  }
}

async function missingImages(
  engine: ContainerRuntimeClient,
  images: readonly string[],
): Promise<readonly string[]> {
  const needed = isReaperOff ? images : [...images, reaperImage];
  const here = await Promise.all(needed.map((image) => engine.image.exists(ImageName.fromString(image))));
  return needed.filter((_, index) => !here[index]);
}
