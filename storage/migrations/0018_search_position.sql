-- Which events the search index has seen: all up to this number. It follows behind what is written.
create table search_position (
	nid bigint not null
);
insert into search_position (nid) select coalesce(max(nid), 0) from events;

-- What a user has not read, counted by the push rules, with the users of a room side by side: an event of a large room changes a stretch of
-- the table and not a page for each member. thread is the root's event id, empty for the main timeline.
create table unread_by_room (
	room      bigint not null,
	thread    text not null,
	user_id   text not null,
	notify    bigint not null,
	highlight bigint not null,
	primary key (room, thread, user_id)
) {{rowless}};
insert into unread_by_room (room, thread, user_id, notify, highlight) select room, thread, user_id, notify, highlight from unread;
drop table unread;
alter table unread_by_room rename to unread;
-- UnreadOf, UnreadRooms: the counts of a user. It does not change when they do.
create index unread_user on unread (user_id, room);
