-- Whether other events relate to an event in a way that it is shown with. Reading it with the event spares nearly all timelines the question.
alter table events add column has_children smallint not null default 0;
update events set has_children = 1 where event_id in (select parent from relations where rel_type in ('m.replace', 'm.reference', 'm.thread'));

-- FirstMembers: those who have been in a room for longest, without looking at all.
create index memberships_longest on memberships (room, membership, pos);
