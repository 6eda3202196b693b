CREATE TABLE "journal" (
	"order_id" uuid NOT NULL,
	"step" text NOT NULL,
	"direction" text NOT NULL,
	"outcome" text NOT NULL,
	"reason" text,
	"event_id" uuid,
	"event_type" text,
	"lamport" integer NOT NULL,
	"causation_id" uuid NOT NULL,
	"attempt" integer NOT NULL,
	"recorded_at" timestamp with time zone NOT NULL,
	CONSTRAINT "journal_order_id_step_direction_pk" PRIMARY KEY("order_id","step","direction"),
	CONSTRAINT "journal_direction" CHECK ("journal"."direction" in ('do', 'undo')),
	CONSTRAINT "journal_outcome" CHECK ("journal"."outcome" in ('done', 'refused', 'empty', 'barred'))
);
--> statement-breakpoint
CREATE TABLE "outbox" (
	"message_id" uuid PRIMARY KEY NOT NULL,
	"subject" text NOT NULL,
	"events" integer NOT NULL,
	"body" text NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"published_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "payments" (
	"order_id" uuid PRIMARY KEY NOT NULL,
	"customer_id" text NOT NULL,
	"amount" bigint NOT NULL,
	"status" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "wallets" (
	"customer_id" text PRIMARY KEY NOT NULL,
	"balance" bigint NOT NULL,
	CONSTRAINT "wallets_balance" CHECK ("wallets"."balance" >= 0)
);
--> statement-breakpoint
CREATE INDEX "outbox_unpublished" ON "outbox" USING btree ("created_at") WHERE "outbox"."published_at" is null;