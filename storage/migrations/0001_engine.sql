-- The two ends of the stream; exactly one row. The table schema_version is made by migrate.go itself.
create table stream_position (
	id       {{key}} check (id = 1),
	pos      bigint not null,
	backfill bigint not null
);
insert into stream_position (id, pos, backfill) values (1, 0, 0);
