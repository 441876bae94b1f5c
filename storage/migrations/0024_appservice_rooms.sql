-- The rooms that application services have published for the networks they know. instance is what clients call a network of one of them.
create table appservice_rooms (
	instance   text not null,
	appservice text not null,
	room       bigint not null references rooms (nid),
	primary key (instance, room)
);
