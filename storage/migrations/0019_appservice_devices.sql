-- What application services are told of the devices of their users.

-- Whose devices the transaction under way names: a JSON object with changed and left.
alter table appservices add column device_lists {{json}} not null default '{}';

-- When a key of the device was last claimed, which is what its counts are told after; 0: never.
alter table devices add column claimed_pos bigint not null default 0;
-- ReadTx.ClaimedDevices
create index devices_claimed on devices (claimed_pos) where claimed_pos > 0;

-- ReadTx.InboxPlaces: the messages to all devices in the order of the stream.
create index to_device_pos on to_device (pos, user_id, device_id);
