CREATE TABLE "failures" (
	"id" uuid PRIMARY KEY NOT NULL,
	"fingerprint" text NOT NULL,
	"state" text NOT NULL,
	"direction" text,
	"step" text,
	"order_id" uuid,
	"traceparent" text,
	"subject" text NOT NULL,
	"message_id" text NOT NULL,
	"headers" jsonb NOT NULL,
	"body" text NOT NULL,
	"reason" text NOT NULL,
	"attempts" integer NOT NULL,
	"first_at" timestamp with time zone NOT NULL,
	"last_at" timestamp with time zone NOT NULL,
	"settled_at" timestamp with time zone,
	"announced_at" timestamp with time zone,
	CONSTRAINT "failures_fingerprint_unique" UNIQUE("fingerprint"),
	CONSTRAINT "failures_state" CHECK ("failures"."state" in ('retrying', 'open', 'replayed', 'discarded')),
	CONSTRAINT "failures_direction" CHECK ("failures"."direction" in ('do', 'undo'))
);
--> statement-breakpoint
CREATE INDEX "failures_retrying" ON "failures" USING btree ("first_at") WHERE "failures"."state" = 'retrying';--> statement-breakpoint
CREATE INDEX "failures_open" ON "failures" USING btree ("id") WHERE "failures"."state" = 'open';--> statement-breakpoint
CREATE INDEX "failures_unannounced" ON "failures" USING btree ("id") WHERE "failures"."state" = 'open' and "failures"."announced_at" is null;