-- What other servers sign with, and which of them cannot be reached.

-- The answers in which servers publish their keys, as they came. One is kept while a key was last seen in it.
create table server_key_documents (
	nid      {{serial}},
	document {{json}} not null
);

-- public_key is unpadded base64. Times are ms since the epoch: the key is good until valid_until if expired is 0, else it stopped being used at
-- expired. fetched is when the document that says so was fetched.
create table server_keys (
	server      text not null,
	key_id      text not null,
	public_key  text not null,
	valid_until bigint not null,
	expired     bigint not null,
	fetched     bigint not null,
	document    bigint not null references server_key_documents (nid),
	primary key (server, key_id)
) {{rowless}};
-- Tx.PutServerKeys: whether a document is still the last one of a key; and the foreign key.
create index server_keys_document on server_keys (document);

-- Servers that failed to answer and have not answered since. Times are ms since the epoch.
create table destinations (
	server    text not null primary key,
	failures  bigint not null,
	failed_at bigint not null,
	retry_at  bigint not null
) {{rowless}};
