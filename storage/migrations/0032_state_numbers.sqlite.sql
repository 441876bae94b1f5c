-- Rows of these two are never removed, so SQLite need not note the largest number ever given: that was a page more for each change of a state.
create table words_numbered (
	nid   integer primary key,
	value text not null unique
);
insert into words_numbered (nid, value) select nid, value from words order by nid;
drop table words;
alter table words_numbered rename to words;

-- level is how many of a snapshot and its ancestors in a row are no larger than it, 0 where that has not been counted.
create table state_snapshots_numbered (
	nid    integer primary key,
	room   bigint not null,
	parent bigint not null,
	depth  integer not null,
	size   bigint not null,
	level  integer not null default 0
);
insert into state_snapshots_numbered (nid, room, parent, depth, size) select nid, room, parent, depth, size from state_snapshots order by nid;
drop table state_snapshots;
alter table state_snapshots_numbered rename to state_snapshots;
