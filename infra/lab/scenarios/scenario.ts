/** What every scenario is given, and what it hands back. */
import type { LabApi } from '../api.ts';
import { seconds } from '../in-doubt.ts';

export type Stage = {
  api: LabApi;
  home: string;
  url: string;
  /** Tells the next line of the story, with the time since its beginning. */
  tell(line: string): void;
  /** More of the same moment: indented, without a time. */
  show(lines: readonly string[]): void;
  options: { seconds: number | undefined; clients: number | undefined };
};

/** Something that the story says will be seen, and whether it was. */
export type Claim = { claim: string; seen: boolean };

export type Ending = { claims: Claim[]; figures: Record<string, unknown> };

export type Scenario = {
  summary: string;
  play(stage: Stage): Promise<Ending>;
};

const clockWidth = 7;

/** Tells on lines of their own; for `--json` there is no story. */
export function stageOn(
  stage: Pick<Stage, 'api' | 'home' | 'url' | 'options'>,
  out: ((line: string) => void) | undefined,
): Stage {
  const startedAt = performance.now();
  return {
    ...stage,
    tell: (line) => out?.(`${seconds(performance.now() - startedAt).padStart(clockWidth)}  ${line}`),
    show: (lines) => {
      for (const line of lines) out?.(`${' '.repeat(clockWidth + 4)}${line}`);
    },
  };
}
