-- Events that users have had scheduled, and for a while what became of them. state_key is null for message events; ts is what an application
-- service gives as the time of the event. delay is in milliseconds; all times are in milliseconds since the epoch: since is when the event was
-- scheduled or last restarted, send_at that and the delay, finalised when it was sent, given up or cancelled, 0 while it is scheduled. event_id is
-- there if it was sent, error (a JSON object) if it could not be.
-- Spec: MSC4140
create table delayed_events (
	delay_id  text primary key,
	user_id   text not null references users (user_id) on delete cascade,
	room_id   text not null,
	type      text not null,
	state_key text,
	content   {{json}} not null,
	ts        bigint not null,
	delay     bigint not null,
	since     bigint not null,
	send_at   bigint not null,
	finalised bigint not null default 0,
	event_id  text not null default '',
	error     {{json}} not null default ''
);
-- DelayedEvents
create index delayed_events_due on delayed_events (send_at, delay_id) where finalised = 0;
-- DelayedEventsOf, CountDelayedEvents
create index delayed_events_of on delayed_events (user_id, send_at) where finalised = 0;
-- ForgetDelayedEvents
create index delayed_events_over on delayed_events (finalised) where finalised > 0;
-- LimitFinalisedEvents
create index delayed_events_over_of on delayed_events (user_id, finalised) where finalised > 0;
