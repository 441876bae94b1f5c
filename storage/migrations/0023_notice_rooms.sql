-- The room in which each user gets server notices, once there was one.
-- Spec: client-server-api#server-notices
create table notice_rooms (
	user_id text primary key references users (user_id) on delete cascade,
	room_id text not null
);
