/**
 * Loaded before everything else (`node --import …/register.ts`). Nothing of the SDK is loaded when tracing
 * is off, so that off costs nothing.
 */
import { tracingOn } from './tracing-on.ts';

if (tracingOn) await import('./sdk.ts');
