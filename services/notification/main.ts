import { start } from '#libs/service/start.ts';
import { notification } from './service.ts';

await start(notification);
