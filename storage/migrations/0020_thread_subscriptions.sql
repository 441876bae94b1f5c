-- What users have said of threads: that they want to hear of them (subscribed), perhaps because a client of theirs thought so (automatic), or
-- that they do not. pos is when they said so.
-- Spec: MSC4306
create table thread_subscriptions (
	user_id    text not null references users (user_id) on delete cascade,
	room       bigint not null,
	root       text not null,
	subscribed smallint not null,
	automatic  smallint not null,
	pos        bigint not null,
	primary key (user_id, room, root)
) {{rowless}};
-- ReadTx.ThreadSubscriptionsSince
create index thread_subscriptions_pos on thread_subscriptions (user_id, pos);
-- ReadTx.SubscribersOf: whom an event in a thread may notify.
create index thread_subscriptions_thread on thread_subscriptions (room, root);
