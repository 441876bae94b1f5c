-- Accounts of this server, their sessions, and what users keep for themselves.

-- Rows stay when an account is deactivated, so that its name is never given to somebody else.
create table users (
	user_id        text not null primary key,
	password_hash  text not null,               -- PHC string; '' is an account that cannot log in with a password
	user_type      text not null default '',    -- '' or what the administrator said when making it, such as 'bot'
	guest          smallint not null default 0,
	admin          smallint not null default 0,
	locked         smallint not null default 0,
	suspended      smallint not null default 0,
	deactivated_ts bigint not null default 0,   -- 0: the account is alive
	erased         smallint not null default 0, -- the user asked for the content to be hidden from newcomers
	departing      smallint not null default 0, -- deactivated, but not yet out of all rooms
	created_ts     bigint not null
) {{rowless}};
-- ReadTx.DepartingUsers
create index users_departing on users (user_id) where departing = 1;

create table devices (
	user_id         text not null references users (user_id) on delete cascade,
	device_id       text not null,
	display_name    text,
	created_ts      bigint not null,
	last_seen_ts    bigint not null default 0,
	last_seen_ip    text not null default '',
	last_seen_agent text not null default '',
	primary key (user_id, device_id)
) {{rowless}};

-- Only the SHA-256 of a token is ever stored. A refresh token made from another one remembers it in previous until either of the new
-- pair is used: then the previous one goes, and with it the access tokens that came with it.
create table refresh_tokens (
	hash       {{blob}} not null primary key,
	user_id    text not null,
	device_id  text not null,
	previous   {{blob}},
	expires_ts bigint not null, -- 0: never
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};
-- Tx.DeleteDeviceTokens, and the cascade from devices
create index refresh_tokens_of_device on refresh_tokens (user_id, device_id);
-- Tx.DeleteSuccessors
create index refresh_tokens_previous on refresh_tokens (previous);

create table access_tokens (
	hash         {{blob}} not null primary key,
	user_id      text not null,
	device_id    text not null,
	refresh_hash {{blob}} references refresh_tokens (hash) on delete cascade,
	created_ts   bigint not null,
	expires_ts   bigint not null, -- 0: never
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};
-- Tx.DeleteDeviceTokens, and the cascade from devices
create index access_tokens_of_device on access_tokens (user_id, device_id);
-- the cascade from refresh_tokens
create index access_tokens_refresh on access_tokens (refresh_hash);

-- One-time tokens: for logging another device in (purpose login), for proving an identity to a third party (openid).
create table single_tokens (
	hash       {{blob}} not null primary key,
	purpose    text not null,
	user_id    text not null references users (user_id) on delete cascade,
	expires_ts bigint not null
) {{rowless}};
-- Tx.DeleteExpiredSingleTokens
create index single_tokens_expiry on single_tokens (expires_ts);
-- the cascade from users, Tx.DeleteSingleTokens
create index single_tokens_of_user on single_tokens (user_id);

create table registration_tokens (
	token        text not null primary key,
	uses_allowed bigint,                      -- null: any number
	uses         bigint not null default 0,
	expires_ts   bigint not null default 0,   -- 0: never
	admin        smallint not null default 0, -- who registers with it becomes an administrator
	created_ts   bigint not null
) {{rowless}};

-- Nonces of the shared-secret registration that were used; kept for as long as a nonce is valid.
create table used_nonces (
	nonce      text not null primary key,
	expires_ts bigint not null
) {{rowless}};

-- User-interactive authentication under way. The row is found by the hash of the session id, and data, which may hold a password
-- somebody is about to set, is sealed with a key made from that id: who only has the database can read neither.
create table auth_sessions (
	hash       {{blob}} not null primary key,
	data       {{blob}} not null,
	expires_ts bigint not null
) {{rowless}};
-- Tx.DeleteExpiredAuthSessions
create index auth_sessions_expiry on auth_sessions (expires_ts);

create table profiles (
	user_id text not null references users (user_id) on delete cascade,
	field   text not null,
	value   {{json}} not null,
	primary key (user_id, field)
) {{rowless}};

create table threepids (
	medium       text not null,
	address      text not null,
	user_id      text not null references users (user_id) on delete cascade,
	validated_ts bigint not null,
	added_ts     bigint not null,
	primary key (medium, address)
) {{rowless}};
-- ReadTx.Threepids
create index threepids_of_user on threepids (user_id);

-- room_id '' is the global account data. Tags are the room's m.tag.
create table account_data (
	user_id text not null references users (user_id) on delete cascade,
	room_id text not null,
	type    text not null,
	content {{json}} not null,
	pos     bigint not null,
	primary key (user_id, room_id, type)
) {{rowless}};
-- ReadTx.AccountDataSince
create index account_data_pos on account_data (user_id, pos);

create table filters (
	user_id    text not null references users (user_id) on delete cascade,
	filter_id  bigint not null,
	hash       {{blob}} not null, -- SHA-256 of the definition: the same filter gets the same id
	definition {{json}} not null,
	primary key (user_id, filter_id),
	unique (user_id, hash)
) {{rowless}};
