import { start } from '#libs/service/start.ts';
import { payment } from './service.ts';

await start(payment);
