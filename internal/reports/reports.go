// Package reports shows administrators what users have reported. It refuses to judge: what is done about a report is done elsewhere, and the report
// deleted.
package reports

import (
	"context"
	"errors"
	"time"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Report is a report with what is known of what it is about.
type Report struct {
	storage.Report
	Room   storage.RoomSummary // of the room, or of the event's
	Sender id.UserID           // of the event
	Event  *storage.Event      // nil: it is not here any more
}

// Service is the reports of one server.
type Service struct{ store *storage.Store }

// New returns a Service.
func New(store *storage.Store) *Service { return &Service{store} }

// errUnknown is the answer to numbers that no report has.
var errUnknown = merr.New(merr.NotFound, "There is no such report")

// List is the reports that a query is about, and how many there are without its bounds.
func (s *Service) List(ctx context.Context, q storage.ReportQuery) (out []Report, total int, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		rows, n, err := tx.Reports(q)
		total, out = n, make([]Report, len(rows))
		for i := range rows {
			if err == nil {
				out[i], err = about(tx, rows[i])
			}
		}
		return err
	})
	return out, total, err
}

// Find is the report of a kind with a number, or M_NOT_FOUND.
func (s *Service) Find(ctx context.Context, kind storage.ReportKind, number int64) (out Report, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Report(number)
		if errors.Is(err, storage.ErrNotFound) || err == nil && row.Kind() != kind {
			return errUnknown
		}
		if err == nil {
			out, err = about(tx, row)
		}
		return err
	})
	return out, err
}

// Delete removes a report, or is M_NOT_FOUND. An empty kind is any.
func (s *Service) Delete(ctx context.Context, kind storage.ReportKind, number int64) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		row, err := tx.Report(number)
		if errors.Is(err, storage.ErrNotFound) || err == nil && kind != "" && row.Kind() != kind {
			return errUnknown
		}
		if err == nil {
			_, err = tx.DeleteReport(number)
		}
		return err
	})
}

// about adds what is known of what a report is about.
func about(tx *storage.ReadTx, row storage.Report) (Report, error) {
	out := Report{Report: row}
	if row.Room != "" {
		room, err := tx.Room(row.Room)
		if err == nil {
			out.Room = room.Summary
		} else if !errors.Is(err, storage.ErrNotFound) {
			return out, err
		}
	}
	if row.Kind() != storage.EventReports {
		return out, nil
	}
	ev, err := tx.Event(row.Event)
	if err == nil {
		out.Event, out.Sender = ev, ev.Sender
	} else if !errors.Is(err, storage.ErrNotFound) {
		return out, err
	}
	return out, nil
}

// Console is the service as the command line sees it.
type Console struct{ Service *Service }

var _ admin.Reports = Console{}

// listed is the number of reports read at a time.
const listed = 500

// ListReports lists all reports, the newest first.
func (c Console) ListReports(ctx context.Context) ([]admin.Report, error) {
	out := []admin.Report{}
	for {
		page, total, err := c.Service.List(ctx, storage.ReportQuery{Skip: len(out), Limit: listed})
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			what := string(r.Report.Event)
			switch r.Kind() {
			case storage.UserReports:
				what = string(r.User)
			case storage.RoomReports:
				what = string(r.Report.Room)
			}
			out = append(out, admin.Report{
				Number: r.NID, At: time.UnixMilli(r.TS), Reporter: string(r.Reporter), About: what, Sender: string(r.Sender), Reason: r.Reason,
			})
		}
		if len(page) == 0 || len(out) >= total {
			return out, nil
		}
	}
}

// DeleteReport removes a report.
func (c Console) DeleteReport(ctx context.Context, number int64) error {
	return c.Service.Delete(ctx, "", number)
}
