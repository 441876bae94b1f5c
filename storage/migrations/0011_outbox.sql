-- What other servers have yet to be told, in the order of pos, which is taken when a row is queued: nothing new ever comes in below what has
-- been read. event is the number of an event, or 0, and then type and content are those of an EDU. Of the rows of one server with the same
-- key there is only the newest; an empty key stands for itself.
create table outbox (
	destination text not null,
	pos         bigint not null,
	event       bigint not null default 0,
	type        text not null default '',
	key         text not null default '',
	content     {{json}} not null default '',
	primary key (destination, pos)
) {{rowless}};
-- QueueEDU: the row that is replaced.
create unique index outbox_key on outbox (destination, key) where key <> '';
