CREATE TABLE "forced_ends" (
	"transaction_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"decision" text NOT NULL,
	"asked_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone,
	CONSTRAINT "forced_ends_transaction_id_id_pk" PRIMARY KEY("transaction_id","id"),
	CONSTRAINT "forced_ends_decision" CHECK ("forced_ends"."decision" in ('commit', 'abort'))
);
