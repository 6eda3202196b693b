import { start } from '#libs/service/start.ts';
import { logistics } from './service.ts';

await start(logistics);
