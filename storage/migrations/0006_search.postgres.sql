-- Search: which events' texts hold a word. The text itself stays in the event.
create table search (
	pos  bigint primary key,
	body tsvector not null
);
create index search_body on search using gin (body);
