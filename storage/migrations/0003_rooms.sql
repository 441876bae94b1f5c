-- Strings that repeat without end: event types, state keys, user ids. Rows are never changed or removed, so the numbers can be cached.
create table words (
	nid   {{serial}},
	value text not null unique
);

-- One row a room. extremities is a JSON array of {"id","pos","depth"}; state is the snapshot after all of them, 0 for a room without any
-- state. What follows state is the summary: derived from the current state and rewritten together with it.
create table rooms (
	nid                {{serial}},
	room_id            text not null unique,
	version            text not null,
	state              bigint not null default 0,
	extremities        {{json}} not null default '[]',
	last_pos           bigint not null default 0,
	published          smallint not null default 0,
	name               text not null default '',
	topic              text not null default '',
	canonical_alias    text not null default '',
	avatar_url         text not null default '',
	join_rule          text not null default '',
	history_visibility text not null default '',
	guest_access       text not null default '',
	room_type          text not null default '',
	encryption         text not null default '',
	successor          text not null default '',
	joined             bigint not null default 0,
	invited            bigint not null default 0
);
-- PublishedRooms: the directory, largest rooms first.
create index rooms_published on rooms (joined desc, nid) where published = 1;

-- pos is the position in the stream, the order within the room and the event's number everywhere else; below 0 for history that was
-- fetched afterwards. status: 0 accepted, 1 soft-failed, 2 rejected, 3 outlier. state_key is null for message events; replaces is the state
-- event that this one took the place of and redacted_by the redaction, 0 for none.
create table events (
	pos          {{key}},
	event_id     text not null unique,
	room         bigint not null references rooms (nid),
	type         bigint not null,
	state_key    bigint,
	sender       bigint not null,
	depth        bigint not null,
	ts           bigint not null,
	state_before bigint not null,
	state_after  bigint not null,
	status       smallint not null,
	replaces     bigint not null default 0,
	redacted_by  bigint not null default 0,
	txn_device   text not null default '',
	txn_id       text not null default '',
	json         {{blob}} not null
);
-- Timeline: a stretch of a room's history, either direction.
create index events_timeline on events (room, pos) where status = 0;
-- EventNear: timestamp_to_event.
create index events_ts on events (room, ts, pos) where status = 0;

-- A snapshot is its own deltas over those of its ancestors; see state.go for how the chains stay short. event 0 removes a key.
create table state_snapshots (
	nid    {{serial}},
	room   bigint not null,
	parent bigint not null,
	depth  integer not null,
	size   bigint not null
);
-- PurgeRoom: all snapshots of a room.
create index state_snapshots_room on state_snapshots (room);
create table state_deltas (
	snapshot  bigint not null,
	type      bigint not null,
	state_key bigint not null,
	event     bigint not null,
	primary key (snapshot, type, state_key)
) {{rowless}};

-- The state now.
create table current_state (
	room      bigint not null,
	type      bigint not null,
	state_key bigint not null,
	event     bigint not null,
	primary key (room, type, state_key)
) {{rowless}};

-- How current_state came to be what it is, a row a change: pos is the position at which it changed, event 0 a removal.
create table state_changes (
	room      bigint not null,
	type      bigint not null,
	state_key bigint not null,
	pos       bigint not null,
	event     bigint not null,
	primary key (room, type, state_key, pos)
) {{rowless}};
-- StateChanges: what changed in a room over a gap.
create index state_changes_pos on state_changes (room, pos);

-- The memberships of current_state, and invites and knocks to rooms that we are not in. event is 0 where we have no such event; stripped is
-- the stripped state that goes with an invite or knock.
create table memberships (
	member     bigint not null,
	room       bigint not null,
	membership text not null,
	event      bigint not null,
	pos        bigint not null,
	sender     bigint not null,
	local      smallint not null,
	forgotten  smallint not null default 0,
	name       text not null default '',
	avatar_url text not null default '',
	stripped   {{json}} not null default '',
	primary key (member, room)
) {{rowless}};
-- Members, LocalJoined: who is in a room.
create index memberships_room on memberships (room, membership, local, member);

-- The answers of PUT /send and the like, by sender, device and endpoint: a repeated request gets the first answer.
-- Spec: client-server-api#transaction-identifiers
create table transactions (
	user_id   text not null,
	device_id text not null,
	endpoint  text not null,
	txn_id    text not null,
	answer    text not null,
	ts        bigint not null,
	primary key (user_id, device_id, endpoint, txn_id)
) {{rowless}};
-- ForgetTransactions: removal by age.
create index transactions_ts on transactions (ts);

-- m.relates_to of events that are not redacted. parent is an event id, for the parent may not be here. aggregation is the key of annotations.
create table relations (
	parent   text not null,
	rel_type text not null,
	child    bigint not null,
	room     bigint not null,
	type     bigint not null,
	sender   bigint not null,
	aggregation text not null default '',
	primary key (parent, rel_type, child)
) {{rowless}};
-- DropRelation: the redaction of a child.
create index relations_child on relations (child);

-- A row a thread, newest reply last.
create table threads (
	room   bigint not null,
	root   text not null,
	latest bigint not null,
	replies bigint not null,
	primary key (room, root)
) {{rowless}};
-- Threads: a room's threads by latest reply.
create index threads_latest on threads (room, latest);

-- What a user has not read, counted by the push rules. thread is the root's event id, empty for the main timeline.
create table unread (
	user_id   text not null,
	room      bigint not null,
	thread    text not null,
	notify    bigint not null,
	highlight bigint not null,
	primary key (user_id, room, thread)
) {{rowless}};

create table aliases (
	alias   text not null primary key,
	room    bigint not null references rooms (nid),
	creator text not null
);
-- AliasesOf: the local aliases of a room.
create index aliases_room on aliases (room);
