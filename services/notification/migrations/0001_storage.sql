-- Bodies are read once, right after they are written: compressing them only costs (measured: pglz was the top symbol).
ALTER TABLE "outbox" ALTER COLUMN "body" SET STORAGE EXTERNAL;
