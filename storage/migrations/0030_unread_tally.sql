-- What of the main timeline has notified everybody who was in a room, and was highlighted for them. What unread has of a thread '' is added to it
-- for the counts of a user: a message changes the room's row, whoever there is to count it for. Who is in a room has such a row.
alter table rooms add column notified bigint not null default 0;
alter table rooms add column highlighted bigint not null default 0;
insert into unread (room, thread, user_id, notify, highlight)
	select m.room, '', w.value, 0, 0 from memberships m join words w on w.nid = m.member
	where m.membership = 'join' and m.local = 1
	on conflict (room, thread, user_id) do nothing;
