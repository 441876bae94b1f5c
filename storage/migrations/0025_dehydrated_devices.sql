-- Devices that nobody is logged in at: rows of devices without tokens, one for each user at most. data is for clients.
create table dehydrated_devices (
	user_id   text not null primary key,
	device_id text not null,
	data      {{json}} not null,
	foreign key (user_id, device_id) references devices (user_id, device_id) on delete cascade
) {{rowless}};
