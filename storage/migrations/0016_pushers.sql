-- Where users want to be notified of events, beside the clients that are open. device_id is that of the session that has set the pusher, which
-- goes with it; null, if that has none. data is a JSON object as the client wrote it; set_ts (ms since the epoch) is when it was last set.
-- Spec: client-server-api#push-notifications
create table pushers (
	pusher      {{serial}},
	user_id     text not null references users (user_id) on delete cascade,
	app_id      text not null,
	pushkey     text not null,
	device_id   text,
	app_name    text not null,
	device_name text not null,
	profile_tag text not null,
	lang        text not null,
	data        {{json}} not null,
	set_ts      bigint not null,
	unique (user_id, app_id, pushkey),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
);
-- the cascade from devices
create index pushers_of_device on pushers (user_id, device_id);
-- DeletePushersOfOthers
create index pushers_key on pushers (pushkey, app_id);

-- What pushers have yet to be told, in the order of pos, which is taken when a row is queued: nothing new ever comes in below what has been
-- read. event is the number of an event, actions are those of the push rule that matched it. Where event is 0, only the number of unread
-- messages has changed; a pusher has at most one such row, the newest. ts (ms since the epoch) is when the row was queued.
create table push_queue (
	pusher  bigint not null references pushers (pusher) on delete cascade,
	pos     bigint not null,
	event   bigint not null,
	actions {{json}} not null,
	ts      bigint not null,
	primary key (pusher, pos)
) {{rowless}};
-- QueueBadge: the row that is replaced.
create unique index push_queue_badge on push_queue (pusher) where event = 0;
