import { start } from '#libs/service/start.ts';
import { order } from './service.ts';

await start(order);
