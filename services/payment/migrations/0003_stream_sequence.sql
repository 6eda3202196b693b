ALTER TABLE "outbox" ADD COLUMN "stream_sequence" bigint;--> statement-breakpoint
CREATE INDEX "outbox_published" ON "outbox" USING btree ("published_at") WHERE "outbox"."published_at" is not null;--> statement-breakpoint
CREATE INDEX "outbox_stored" ON "outbox" USING btree ("subject","stream_sequence") WHERE "outbox"."published_at" is not null;