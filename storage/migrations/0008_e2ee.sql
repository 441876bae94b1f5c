-- End-to-end encryption: what devices and users publish, messages from device to device, and backups of room keys.

-- keys is what the device uploaded in its canonical form, without signatures and unsigned: the bytes that are signed. signatures are the
-- user's own ones that came with it.
create table device_keys (
	user_id    text not null,
	device_id  text not null,
	keys       {{json}} not null,
	signatures {{json}} not null,
	primary key (user_id, device_id),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};

-- pos is when the key was uploaded: the order in which they are given out.
create table one_time_keys (
	user_id   text not null,
	device_id text not null,
	algorithm text not null,
	pos       bigint not null,
	key_id    text not null,
	key       {{json}} not null,
	primary key (user_id, device_id, algorithm, pos, key_id),
	unique (user_id, device_id, algorithm, key_id),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};

create table fallback_keys (
	user_id   text not null,
	device_id text not null,
	algorithm text not null,
	key_id    text not null,
	key       {{json}} not null,
	used      smallint not null default 0,
	primary key (user_id, device_id, algorithm),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};

-- usage is master, self_signing or user_signing; public_key is unpadded base64; keys and signatures are like those of device_keys.
create table cross_signing_keys (
	user_id    text not null references users (user_id) on delete cascade,
	usage      text not null,
	public_key text not null,
	keys       {{json}} not null,
	signatures {{json}} not null,
	primary key (user_id, usage)
) {{rowless}};

-- Signatures that were made afterwards. key_id is the device or the master key that was signed, signer_key the key that signed it, such as
-- ed25519:base64.
create table key_signatures (
	user_id    text not null,
	key_id     text not null,
	signer     text not null,
	signer_key text not null,
	signature  text not null,
	pos        bigint not null,
	primary key (user_id, key_id, signer, signer_key)
) {{rowless}};
-- ReadTx.DeviceListChanges: whom a user has signed.
create index key_signatures_signer on key_signatures (signer, pos);

-- When the devices or cross-signing keys of a user last changed. member is the user's number among the words.
create table device_list_changes (
	member {{key}},
	pos    bigint not null
);
-- ReadTx.DeviceListChanges
create index device_list_changes_pos on device_list_changes (pos);

-- Messages that devices have not acknowledged.
create table to_device (
	user_id   text not null,
	device_id text not null,
	pos       bigint not null,
	sender    text not null,
	type      text not null,
	content   {{json}} not null,
	primary key (user_id, device_id, pos),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};

-- A sync whose token is pos had no place for all messages: of those, the device was told up to upto.
create table to_device_cuts (
	user_id   text not null,
	device_id text not null,
	pos       bigint not null,
	upto      bigint not null,
	primary key (user_id, device_id, pos),
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};

-- A row stays when a backup is deleted, so that its number is never given to another one.
create table key_backups (
	user_id   text not null references users (user_id) on delete cascade,
	version   bigint not null,
	algorithm text not null,
	auth_data {{json}} not null,
	keys      bigint not null default 0, -- the number of rows in room_keys
	etag      bigint not null default 0, -- the number of changes to them
	deleted   smallint not null default 0,
	primary key (user_id, version)
) {{rowless}};

create table room_keys (
	user_id             text not null,
	version             bigint not null,
	room_id             text not null,
	session_id          text not null,
	first_message_index bigint not null,
	forwarded_count     bigint not null,
	is_verified         smallint not null,
	session_data        {{json}} not null,
	primary key (user_id, version, room_id, session_id),
	foreign key (user_id, version) references key_backups (user_id, version) on delete cascade
) {{rowless}};
