-- What the connections of sliding sync remember. A connection is named by the client, one at a time under a name; seq is the number of the
-- last answer that changed what is remembered, confirmed that of the last one of which the client has shown that it got it. extras says
-- what the client has been told beside rooms, extras_before the same at confirmed.
create table sliding_connections (
	nid           {{serial}},
	user_id       text not null,
	device_id     text not null,
	name          text not null,
	seq           bigint not null,
	confirmed     bigint not null,
	extras        text not null,
	extras_before text not null,
	used_ts       bigint not null,
	unique (user_id, device_id, name),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
);
-- DropIdleConnections: removal by age.
create index sliding_connections_used on sliding_connections (used_ts);

-- What the client has been told of a room: told since the answer seq, told_before up to then; empty for nothing. A row is written when that
-- changes its nature, not when the room does: see internal/syncer.
create table sliding_rooms (
	connection  bigint not null references sliding_connections (nid) on delete cascade,
	room        bigint not null,
	seq         bigint not null,
	told        text not null,
	told_before text not null,
	primary key (connection, room)
) {{rowless}};

-- The choices of state that the rows above refer to by number.
create table sliding_choices (
	connection bigint not null references sliding_connections (nid) on delete cascade,
	number     bigint not null,
	choice     text not null,
	primary key (connection, number)
) {{rowless}};
