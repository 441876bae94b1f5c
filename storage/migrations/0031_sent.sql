-- Sent: the event that an earlier request with the same transaction id has made.
create index events_txn on events (sender, room, txn_device, txn_id) where txn_id <> '';
