import { start } from '#libs/service/start.ts';
import { inventory } from './service.ts';

await start(inventory);
