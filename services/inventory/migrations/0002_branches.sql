CREATE TABLE "branches" (
	"transaction_id" uuid PRIMARY KEY NOT NULL,
	"state" text NOT NULL,
	"order_ids" uuid[] NOT NULL,
	"recorded_at" timestamp with time zone NOT NULL,
	CONSTRAINT "branches_state" CHECK ("branches"."state" in ('prepared', 'barred', 'heuristic-commit', 'heuristic-abort'))
);
--> statement-breakpoint
CREATE INDEX "branches_recorded" ON "branches" USING btree ("recorded_at");