-- Who at a provider of single sign-on is who here.
create table external_ids (
	provider   text not null,
	subject    text not null, -- the provider's name for somebody
	user_id    text not null references users (user_id) on delete cascade,
	created_ts bigint not null,
	primary key (provider, subject)
) {{rowless}};
-- the cascade from users, ReadTx.ExternalIDs
create index external_ids_of_user on external_ids (user_id);
