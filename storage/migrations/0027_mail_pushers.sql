-- Pushers by e-mail. kind is http or email; secret is what the link that ends a pusher by e-mail has to say, '' for others.
-- Spec: client-server-api#post_matrixclientv3pushersset
alter table pushers add column kind text not null default 'http';
alter table pushers add column secret text not null default '';

-- The last letter that told a pusher of a room: the timeline position up to which it did (pos), when it was sent, and how long after it the next
-- one may follow while nothing of it is read (ms).
create table mail_told (
	pusher  bigint not null references pushers (pusher) on delete cascade,
	room    bigint not null,
	pos     bigint not null,
	sent_ts bigint not null,
	pause   bigint not null,
	primary key (pusher, room)
) {{rowless}};
