CREATE TABLE "answers" (
	"order_id" uuid PRIMARY KEY NOT NULL,
	"transaction_id" uuid NOT NULL,
	"outcome" text NOT NULL,
	"reason" text,
	"body_hash" text,
	"answer" json NOT NULL,
	CONSTRAINT "answers_outcome" CHECK ("answers"."outcome" in ('done', 'refused'))
);
--> statement-breakpoint
CREATE TABLE "transactions" (
	"transaction_id" uuid PRIMARY KEY NOT NULL,
	"orders" jsonb NOT NULL,
	"participants" text[] NOT NULL,
	"coordinator" text NOT NULL,
	"began_at" timestamp with time zone NOT NULL,
	"decision" text,
	"decided_at" timestamp with time zone,
	"ended_at" timestamp with time zone,
	CONSTRAINT "transactions_decision" CHECK ("transactions"."decision" in ('commit', 'abort'))
);
--> statement-breakpoint
CREATE INDEX "transactions_open" ON "transactions" USING btree ("began_at") WHERE "transactions"."ended_at" is null;