-- What of the main timeline has notified everybody who was in a room, and was highlighted for them.
alter table rooms add column notified bigint not null default 0;
alter table rooms add column highlighted bigint not null default 0;

-- What a user has not read, counted by the push rules. thread is the root's event id; empty for the main timeline, of which the row says by how
-- much the user's count differs from what the room has notified: a message changes the room's row, whoever there is to count it for. Who is in a
-- room has such a row.
create table unread_by_user (
	user_id   text not null,
	room      bigint not null,
	thread    text not null,
	notify    bigint not null,
	highlight bigint not null,
	primary key (user_id, room, thread)
) {{rowless}};
insert into unread_by_user (user_id, room, thread, notify, highlight) select user_id, room, thread, notify, highlight from unread;
insert into unread_by_user (user_id, room, thread, notify, highlight)
	select w.value, m.room, '', 0, 0 from memberships m join words w on w.nid = m.member
	where m.membership = 'join' and m.local = 1
	on conflict (user_id, room, thread) do nothing;
drop table unread;
alter table unread_by_user rename to unread;
