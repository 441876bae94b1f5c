-- Media. A row is one mxc:// URI; it is what is frozen, quarantined and counted. Its bytes are a blob, named by its hash, that other rows may
-- share: a blob is needed as long as a row of media or media_thumbnails names it.
create table media (
	nid            {{serial}},
	server         text not null,               -- the server of the URI
	media_id       text not null,
	kind           smallint not null,           -- 0 upload here, 1 cached from another server, 2 picture of a link preview
	owner          text not null default '',    -- the local user of an upload
	blob           text not null default '',    -- SHA-256; '': still pending
	size           bigint not null default 0,
	content_type   text not null default '',
	filename       text not null default '',    -- '': none was given
	created_ts     bigint not null,             -- when the URI was made
	available_ts   bigint not null default 0,   -- when the bytes became available here, which the freeze goes by; 0: still pending
	expires_ts     bigint not null default 0,   -- of a pending one: when its URI is given up
	access         smallint not null default 0, -- 0 as the freeze says, 1 public, 2 restricted
	quarantined_by text not null default '',    -- who hid it from everybody; '': nobody
	quarantined_ts bigint not null default 0,
	unique (server, media_id)                   -- ReadTx.Media
);
-- ReadTx.BlobsInUse
create index media_by_blob on media (blob) where blob <> '';
-- ReadTx.PendingMedia
create index media_pending_by_owner on media (owner, expires_ts) where available_ts = 0;
-- Tx.DeleteExpiredMedia
create index media_pending_by_expiry on media (expires_ts) where available_ts = 0;
-- ReadTx.MediaOlderThan
create index media_by_kind on media (kind, created_ts);
-- ReadTx.MediaOfUser
create index media_by_owner on media (owner, nid) where owner <> '';

-- The asked-for sizes are from a small fixed set, so rows per media are bounded.
create table media_thumbnails (
	media        bigint not null references media (nid) on delete cascade,
	width        bigint not null,   -- asked for
	height       bigint not null,
	method       text not null,     -- crop or scale
	animated     smallint not null,
	blob         text not null,     -- '': the media itself is what to serve
	size         bigint not null,
	content_type text not null,
	primary key (media, width, height, method, animated)
) {{rowless}};
-- ReadTx.BlobsInUse
create index media_thumbnails_by_blob on media_thumbnails (blob) where blob <> '';

-- What uploads take, kept up to date with every row of kind 0: one row for each user, and one with owner '' for all together.
create table media_usage (
	owner text not null primary key,
	files bigint not null,
	bytes bigint not null
) {{rowless}};

-- Answers about links, refusals among them so that a dead site is not asked again and again.
create table url_previews (
	url        text not null primary key,
	status     bigint not null,   -- HTTP status of the answer
	body       {{json}} not null, -- the answer if the status is 200, else the text of the error
	fetched_ts bigint not null,
	expires_ts bigint not null
) {{rowless}};
-- Tx.DeleteExpiredURLPreviews
create index url_previews_by_expiry on url_previews (expires_ts);
