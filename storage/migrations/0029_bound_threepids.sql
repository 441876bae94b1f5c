-- Addresses that identity servers say are a user's, because this server has asked them to.
create table bound_threepids (
	user_id   text not null references users (user_id) on delete cascade,
	medium    text not null,
	address   text not null, -- canonical form
	id_server text not null,
	primary key (user_id, medium, address, id_server)
) {{rowless}};
