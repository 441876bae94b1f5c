package storage

import (
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Report is what a user has told the administrators about a room, an event of a room, or a user.
type Report struct {
	NID      int64
	Reporter id.UserID
	Room     id.RoomID
	Event    id.EventID
	User     id.UserID
	Reason   string
	TS       int64 // in milliseconds
}

// ReportKind is what reports are about.
type ReportKind string

// The kinds of reports.
const (
	EventReports ReportKind = "event"
	RoomReports  ReportKind = "room"
	UserReports  ReportKind = "user"
)

// Kind is what the report is about.
func (r Report) Kind() ReportKind {
	switch {
	case r.Event != "":
		return EventReports
	case r.User != "":
		return UserReports
	}
	return RoomReports
}

// ReportQuery says which reports are wanted. An empty Kind is all of them. Reporter, Room and User are parts of ids; empty, they say nothing.
type ReportQuery struct {
	Kind                 ReportKind
	Reporter, Room, User string
	OldestFirst          bool
	Skip, Limit          int
}

// AddReport keeps a report and gives it a number.
func (tx *Tx) AddReport(r Report) (nid int64, err error) {
	err = tx.queryRow(`insert into reports (reporter, room_id, event_id, user_id, reason, ts) values ($1, $2, $3, $4, $5, $6) returning nid`,
		string(r.Reporter), string(r.Room), string(r.Event), string(r.User), r.Reason, r.TS).Scan(&nid)
	return nid, err
}

const reportColumns = "nid, reporter, room_id, event_id, user_id, reason, ts"

func scanReport(r rowScanner) (v Report, err error) {
	err = r.Scan(&v.NID, &v.Reporter, &v.Room, &v.Event, &v.User, &v.Reason, &v.TS)
	return v, err
}

// Reports is the reports that a query is about, in the order of their numbers, and how many there are without Skip and Limit.
func (tx *ReadTx) Reports(q ReportQuery) (reports []Report, total int, err error) {
	const where = ` from reports where lower(reporter) like $2 escape '\' and lower(room_id) like $3 escape '\' and lower(user_id) like $4 escape '\'
		and (cast($1 as text) = '' or case when event_id <> '' then 'event' when user_id <> '' then 'user' else 'room' end = $1)`
	args := []any{string(q.Kind), containing(q.Reporter), containing(q.Room), containing(q.User)}
	if err := tx.queryRow("select count(*)"+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	order := " order by nid desc limit $5 offset $6"
	if q.OldestFirst {
		order = " order by nid limit $5 offset $6"
	}
	reports, err = collect(tx, scanReport, "select "+reportColumns+where+order, append(args, q.Limit, q.Skip)...)
	return reports, total, err
}

// containing is a pattern for texts that have a part, in any case.
func containing(part string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(part)) + "%"
}

// Report is a report by its number.
func (tx *ReadTx) Report(nid int64) (Report, error) {
	return scanReport(tx.queryRow("select "+reportColumns+" from reports where nid = $1", nid))
}

// DeleteReport removes a report and reports whether there was one.
func (tx *Tx) DeleteReport(nid int64) (bool, error) {
	n, err := tx.exec(`delete from reports where nid = $1`, nid)
	return n == 1, err
}
