-- How far each application service has been told of the stream. pos: everything up to there was delivered or is not for it. txn is the number
-- of the last transaction that was made. If up_to is not 0, that transaction is under way and gets as far as up_to: events is a JSON array of
-- the numbers of its events, so that it is the same whenever it is tried again.
create table appservices (
	id     text not null primary key,
	pos    bigint not null,
	txn    bigint not null,
	up_to  bigint not null default 0,
	events {{json}} not null default '[]'
);

-- StreamEvents: memberships in rooms that this server is not in; the numbers of outliers are below 0.
create index memberships_outside on memberships (pos) where local = 1 and event < 0;
-- StreamEvents: the few events whose place in the stream is not their number.
create index events_placed_later on events (pos) where status = 0 and pos > 0 and nid <> pos;
