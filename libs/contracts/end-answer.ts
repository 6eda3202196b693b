/** The end of one branch, as the gateway reads it: a line of NDJSON (libs/service/ndjson.ts) around an `EndAnswer`. */
import { z } from 'zod';
import type { EndAnswer } from './two-phase.ts';

export const endAnswerLine = z.object({
  answer: z.object({
    transactionId: z.uuid(),
    state: z.enum(['ended', 'contradicts', 'failed'] satisfies EndAnswer['state'][]),
    failure: z.string().optional(),
  }),
});
