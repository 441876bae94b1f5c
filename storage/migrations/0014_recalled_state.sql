-- RecalledState: state events in history that was fetched from other servers, of which the state of their moment is not known.
create index events_recalled_state on events (room, type, state_key, pos) where status = 0 and state_after = 0 and state_key is not null;
