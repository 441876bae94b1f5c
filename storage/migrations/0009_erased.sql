-- The position of the stream at which a user asked for erasure; 0: never. Who joins a room after it is shown redacted copies.
alter table users add column erased_pos bigint not null default 0;
