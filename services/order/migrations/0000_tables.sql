CREATE TABLE "cities" (
	"city" text PRIMARY KEY NOT NULL
);
--> statement-breakpoint
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
CREATE TABLE "menu" (
	"dish_id" text PRIMARY KEY NOT NULL,
	"price" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "orders" (
	"order_id" uuid PRIMARY KEY NOT NULL,
	"status" text NOT NULL,
	"protocol" text NOT NULL,
	"customer_id" text NOT NULL,
	"city" text NOT NULL,
	"items" jsonb NOT NULL,
	"total" bigint NOT NULL,
	"reason" text,
	"traceparent" text NOT NULL,
	"faults" text,
	"body_hash" text,
	"created_at" timestamp with time zone NOT NULL,
	"deadline" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone
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
CREATE INDEX "orders_created" ON "orders" USING btree ("created_at","order_id");--> statement-breakpoint
CREATE INDEX "orders_open" ON "orders" USING btree ("deadline") WHERE "orders"."ended_at" is null;--> statement-breakpoint
CREATE INDEX "outbox_unpublished" ON "outbox" USING btree ("created_at") WHERE "outbox"."published_at" is null;