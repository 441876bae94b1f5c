drop index state_snapshots_room;
-- level is how many of a snapshot and its ancestors in a row are no larger than it, 0 where that has not been counted.
alter table state_snapshots add column level integer not null default 0;
