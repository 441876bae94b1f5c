-- An event's number never changes: states, relations and memberships refer to it. pos is its place in the stream and in the timeline of its
-- room, 0 for an event that has none: outliers, rejected and soft-failed events. An event can get its place later.
drop index events_timeline;
drop index events_ts;
alter table events rename column pos to nid;
alter table events add column pos bigint not null default 0;
update events set pos = nid where status = 0;
-- Timeline: a stretch of a room's history, either direction.
create index events_timeline on events (room, pos) where status = 0;
-- EventNear: timestamp_to_event.
create index events_ts on events (room, ts, pos) where status = 0;

-- The parts of a room's history that are missing here. A gap reserves the positions from floor to below the event that it is in front of; the
-- next event fetched takes the position next, the one after that next - 1. missing is a JSON array of the ids of the events that come next.
create table gaps (
	room    bigint not null,
	floor   bigint not null,
	next    bigint not null,
	missing {{json}} not null,
	primary key (room, floor)
) {{rowless}};

-- How many users of each server are joined to a room.
create table room_servers (
	room   bigint not null,
	server text not null,
	joined bigint not null,
	primary key (room, server)
) {{rowless}};
-- ServersSharing: the rooms of a server.
create index room_servers_server on room_servers (server, room);

-- Redactions whose target is not here yet.
create table pending_redactions (
	target    text not null,
	redaction bigint not null,
	primary key (target, redaction)
) {{rowless}};
