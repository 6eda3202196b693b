-- Leaves room on the page, so that a confirmation is a heap-only update.
ALTER TABLE "orders" SET (fillfactor = 70);
--> statement-breakpoint
-- Bodies are read once, right after they are written: compressing them only costs (measured: pglz was the top symbol).
ALTER TABLE "outbox" ALTER COLUMN "body" SET STORAGE EXTERNAL;
