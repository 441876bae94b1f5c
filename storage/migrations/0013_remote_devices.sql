-- End-to-end encryption with users of other servers.

-- The stream_id under which a local user's list of devices was last announced to other servers: the prev_id of the next announcement. member
-- is the user's number among the words.
create table device_list_versions (
	member    {{key}},
	stream_id bigint not null
);
insert into device_list_versions (member, stream_id) select member, pos from device_list_changes;

-- The device lists of users of other servers, as far as somebody has asked for them. version is the stream_id of the last update that is in
-- the list, 0 if it is not known; changes counts what we have heard of the list, in it or not; fetched is where the stream was when the list
-- was asked for, 0 if there is none. A stale list has to be fetched again, at retry_at (ms since the epoch) after tries that failed.
create table remote_device_lists (
	member   {{key}},
	server   text not null,
	version  bigint not null default 0,
	changes  bigint not null default 0,
	fetched  bigint not null default 0,
	stale    smallint not null default 0,
	tries    bigint not null default 0,
	retry_at bigint not null default 0
);
-- StaleLists: those whose time has come.
create index remote_device_lists_retry on remote_device_lists (retry_at) where stale = 1;
-- HurryResyncs: those of one server.
create index remote_device_lists_server on remote_device_lists (server) where stale = 1;

-- keys and signatures are like those of device_keys.
create table remote_devices (
	member       bigint not null references remote_device_lists (member) on delete cascade,
	device_id    text not null,
	keys         {{json}} not null,
	signatures   {{json}} not null,
	display_name text,
	primary key (member, device_id)
) {{rowless}};

-- Like cross_signing_keys; there are only master and self_signing.
create table remote_cross_signing_keys (
	member     bigint not null references remote_device_lists (member) on delete cascade,
	usage      text not null,
	public_key text not null,
	keys       {{json}} not null,
	signatures {{json}} not null,
	primary key (member, usage)
) {{rowless}};

-- Messages to devices that have come from other servers, so that none is delivered twice. ts is in ms since the epoch.
create table received_messages (
	origin     text not null,
	message_id text not null,
	ts         bigint not null,
	primary key (origin, message_id)
) {{rowless}};
-- ForgetMessages: removal by age.
create index received_messages_ts on received_messages (ts);
