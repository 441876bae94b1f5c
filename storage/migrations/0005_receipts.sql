-- How far users have read. thread is '' for an unthreaded receipt, main, or the event id of a thread's root. at is the position of the event,
-- 0 while it is not here; pos is when the receipt was set.
-- Spec: client-server-api#receipts
create table receipts (
	room     bigint not null,
	user_id  text not null,
	type     text not null,
	thread   text not null,
	event_id text not null,
	at       bigint not null,
	pos      bigint not null,
	ts       bigint not null,
	primary key (room, user_id, type, thread)
) {{rowless}};
-- ReceiptsSince: what is new in a room.
create index receipts_pos on receipts (room, pos);
