-- What users have reported to the administrators. event_id and user_id are empty where the report is about something else; room_id is where
-- the event is.
create table reports (
	nid      {{serial}},
	reporter text not null,
	room_id  text not null default '',
	event_id text not null default '',
	user_id  text not null default '',
	reason   text not null default '',
	ts       bigint not null
);
