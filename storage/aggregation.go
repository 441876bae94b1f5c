package storage

import "github.com/hearthd/hearth/internal/id"

// What events are told of their children is read for many parents with one query each, and never reads annotations, of which popular
// events have thousands and which are not aggregated.

// Aggregated is the m.replace and m.reference relations to any of several events, by parent and oldest first; most events have none.
func (tx *ReadTx) Aggregated(parents []id.EventID) (map[id.EventID][]Relation, error) {
	rows, err := tx.relations(`select parent, rel_type, child, room, type, sender, aggregation from relations
		where `+tx.inTexts("parent", 1)+` and rel_type in ('m.replace', 'm.reference') order by child`, list(parents))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	out := map[id.EventID][]Relation{}
	for _, r := range rows {
		out[r.Parent] = append(out[r.Parent], r)
	}
	return out, nil
}

// ThreadSummary is what is said of a thread beside its root. Replies and Latest leave ignored users out.
type ThreadSummary struct {
	Root         id.EventID
	Replies      int64
	Latest       int64 // number of the newest reply
	Participated bool  // the user asked for has replied
}

// ThreadSummaries is the threads that have one of several events as their root, as seen by a user who ignores some others.
func (tx *ReadTx) ThreadSummaries(roots []id.EventID, user id.UserID, ignored []id.UserID) ([]ThreadSummary, error) {
	return collect(tx, func(r rowScanner) (t ThreadSummary, err error) {
		var own int64
		err = r.Scan(&t.Root, &t.Replies, &t.Latest, &own)
		t.Participated = own > 0
		return t, err
	}, `select r.parent, count(*), max(r.child), sum(case when w.value = $2 then 1 else 0 end) from relations r
		join words w on w.nid = r.sender
		where `+tx.inTexts("r.parent", 1)+` and r.rel_type = 'm.thread' and not (`+tx.inTexts("w.value", 3)+`)
		group by r.parent`, list(roots), string(user), list(ignored))
}

// ThreadReplies is the numbers of the newest replies in a thread before a position, newest first.
func (tx *ReadTx) ThreadReplies(root id.EventID, before int64, limit int) ([]int64, error) {
	return collect(tx, scanOne[int64], `select child from relations where parent = $1 and rel_type = 'm.thread' and child < $2
		order by child desc limit $3`, string(root), before, limit)
}

// RelatedBy is which of several events have a child of one of the relation types and from one of the senders; no types, or no senders, are
// all of them.
func (tx *ReadTx) RelatedBy(parents []id.EventID, relTypes []string, senders []id.UserID) (map[id.EventID]bool, error) {
	anyType, anySender := 0, 0
	if len(relTypes) == 0 {
		anyType = 1
	}
	if len(senders) == 0 {
		anySender = 1
	}
	found, err := collect(tx, scanOne[id.EventID], `select distinct r.parent from relations r join words w on w.nid = r.sender
		where `+tx.inTexts("r.parent", 1)+` and (cast($2 as bigint) = 1 or `+tx.inTexts("r.rel_type", 3)+`)
		and (cast($4 as bigint) = 1 or `+tx.inTexts("w.value", 5)+`)`, list(parents), anyType, list(relTypes), anySender, list(senders))
	out := make(map[id.EventID]bool, len(found))
	for _, eventID := range found {
		out[eventID] = true
	}
	return out, err
}
