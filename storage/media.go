package storage

import (
	"fmt"

	"github.com/hearthd/hearth/internal/id"
)

// MediaKind says where media came from.
type MediaKind int

// The kinds of media.
const (
	MediaUpload  MediaKind = 0 // uploaded by a user of this server
	MediaRemote  MediaKind = 1 // a copy of another server's
	MediaPreview MediaKind = 2 // the picture of a link preview, made by this server
)

// MediaAccess overrules the freeze for one media.
type MediaAccess int

// The values of Media.Access.
const (
	MediaFollowsFreeze MediaAccess = 0
	MediaPublic        MediaAccess = 1 // the legacy endpoints serve it, whatever the freeze says
	MediaRestricted    MediaAccess = 2 // only the authenticated endpoints serve it
)

// Media is one content URI and what is known of it. Times are milliseconds since the epoch.
type Media struct {
	NID           int64
	MXC           id.MXC
	Kind          MediaKind
	Owner         id.UserID // empty unless it is an upload
	Blob          string    // hash of the bytes; empty while pending
	Size          int64
	ContentType   string
	Filename      string // empty: none was given
	CreatedTS     int64
	AvailableTS   int64 // when the bytes became available here; 0 while pending
	ExpiresTS     int64 // while pending: when the URI is given up
	Access        MediaAccess
	QuarantinedBy string // empty: it is not
	QuarantinedTS int64
}

// Pending reports whether the URI was made but its bytes have not come yet.
func (m Media) Pending() bool { return m.AvailableTS == 0 }

// Quarantined reports whether the media is hidden from everybody.
func (m Media) Quarantined() bool { return m.QuarantinedBy != "" }

const mediaColumns = `nid, server, media_id, kind, owner, blob, size, content_type, filename, created_ts, available_ts, expires_ts,
	access, quarantined_by, quarantined_ts`

func scanMedia(r rowScanner) (Media, error) {
	var m Media
	err := r.Scan(&m.NID, &m.MXC.Server, &m.MXC.MediaID, &m.Kind, &m.Owner, &m.Blob, &m.Size, &m.ContentType, &m.Filename,
		&m.CreatedTS, &m.AvailableTS, &m.ExpiresTS, &m.Access, &m.QuarantinedBy, &m.QuarantinedTS)
	return m, err
}

// Media returns the row of a content URI.
func (tx *ReadTx) Media(mxc id.MXC) (Media, error) {
	return scanMedia(tx.queryRow("select "+mediaColumns+" from media where server = $1 and media_id = $2", mxc.Server, mxc.MediaID))
}

// MediaOfUser lists uploads of a user in the order in which their URIs were made, starting behind the row after.
func (tx *ReadTx) MediaOfUser(owner id.UserID, after int64, limit int) ([]Media, error) {
	return collect(tx, scanMedia, "select "+mediaColumns+" from media where owner = $1 and owner <> '' and nid > $2 order by nid limit $3",
		owner, after, limit)
}

// MediaOlderThan lists media of a kind whose row was made before ts, oldest first. Rows that hold a decision of an operator, which would be
// lost with them, are left out.
func (tx *ReadTx) MediaOlderThan(kind MediaKind, ts int64, limit int) ([]Media, error) {
	return collect(tx, scanMedia, "select "+mediaColumns+` from media where kind = $1 and created_ts < $2 and access = 0 and quarantined_by = ''
		order by created_ts limit $3`, kind, ts, limit)
}

// PendingMedia counts the URIs of a user that wait for their upload at the time now.
func (tx *ReadTx) PendingMedia(owner id.UserID, now int64) (int, error) {
	var n int
	err := tx.queryRow("select count(*) from media where owner = $1 and available_ts = 0 and expires_ts > $2", owner, now).Scan(&n)
	return n, err
}

// BlobsInUse returns those of the blobs that a row still needs.
func (tx *ReadTx) BlobsInUse(blobs []string) ([]string, error) {
	return collect(tx, scanOne[string], `select l.value from `+tx.texts(1)+` l where
		exists (select 1 from media m where m.blob = l.value and m.blob <> '')
		or exists (select 1 from media_thumbnails t where t.blob = l.value and t.blob <> '')
		order by 1`, list(blobs))
}

// InsertMedia makes a row; its NID is given by the database and returned. A URI that exists already is an error.
func (tx *Tx) InsertMedia(m Media) (int64, error) {
	var nid int64
	err := tx.queryRow(`insert into media (server, media_id, kind, owner, blob, size, content_type, filename, created_ts, available_ts,
		expires_ts, access, quarantined_by, quarantined_ts) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) returning nid`,
		m.MXC.Server, m.MXC.MediaID, m.Kind, m.Owner, m.Blob, m.Size, m.ContentType, m.Filename, m.CreatedTS, m.AvailableTS,
		m.ExpiresTS, m.Access, m.QuarantinedBy, m.QuarantinedTS).Scan(&nid)
	if err != nil {
		return 0, err
	}
	if m.Pending() {
		return nid, nil
	}
	return nid, tx.countMedia(m, 1)
}

// CompleteMedia gives a pending row what its upload brought: bytes, type, name and time. It returns ErrNotFound if the row is not pending.
func (tx *Tx) CompleteMedia(m Media) error {
	if err := tx.execOne(`update media set blob = $2, size = $3, content_type = $4, filename = $5, available_ts = $6, expires_ts = 0
		where nid = $1 and available_ts = 0`, m.NID, m.Blob, m.Size, m.ContentType, m.Filename, m.AvailableTS); err != nil {
		return err
	}
	return tx.countMedia(m, 1)
}

// DeleteMedia removes a row with its thumbnails and returns the blobs it named. They may still be in use by other rows: see BlobsInUse.
func (tx *Tx) DeleteMedia(m Media) ([]string, error) {
	blobs, err := collect(&tx.ReadTx, scanOne[string], "delete from media_thumbnails where media = $1 returning blob", m.NID)
	if err != nil {
		return nil, err
	}
	if err := tx.execOne("delete from media where nid = $1", m.NID); err != nil {
		return nil, err
	}
	named := blobs[:0]
	for _, b := range append(blobs, m.Blob) {
		if b != "" {
			named = append(named, b)
		}
	}
	if m.Pending() {
		return named, nil
	}
	return named, tx.countMedia(m, -1)
}

// DeleteExpiredMedia removes pending rows that were given up before now, and says how many.
func (tx *Tx) DeleteExpiredMedia(now int64) (int64, error) {
	return tx.exec("delete from media where available_ts = 0 and expires_ts <= $1", now)
}

// SetMediaAccess overrules the freeze for one media, or stops doing so.
func (tx *Tx) SetMediaAccess(mxc id.MXC, access MediaAccess) error {
	return tx.execOne("update media set access = $3 where server = $1 and media_id = $2", mxc.Server, mxc.MediaID, access)
}

// QuarantineMedia hides one media from everybody; by says who ordered it and when. An empty by ends it.
func (tx *Tx) QuarantineMedia(mxc id.MXC, by string, ts int64) error {
	return tx.execOne("update media set quarantined_by = $3, quarantined_ts = $4 where server = $1 and media_id = $2",
		mxc.Server, mxc.MediaID, by, ts)
}

// MediaUsage is what uploads take together.
type MediaUsage struct{ Files, Bytes int64 }

// MediaUsage returns what the uploads of a user take; for the empty id, those of all users and the pictures of link previews.
func (tx *ReadTx) MediaUsage(owner id.UserID) (MediaUsage, error) {
	var u MediaUsage
	err := tx.queryRow("select coalesce(sum(files), 0), coalesce(sum(bytes), 0) from media_usage where owner = $1", owner).Scan(&u.Files, &u.Bytes)
	return u, err
}

// RemoteMediaUsage returns what the copies of other servers' media take. It looks at all of them: it is for housekeeping.
func (tx *ReadTx) RemoteMediaUsage() (MediaUsage, error) {
	var u MediaUsage
	err := tx.queryRow("select count(*), coalesce(sum(size), 0) from media where kind = $1", MediaRemote).Scan(&u.Files, &u.Bytes)
	return u, err
}

// countMedia adds what is here for good to the usage of its owner, if it has one, and of all, or takes it away. Copies of other servers'
// media can be had again.
func (tx *Tx) countMedia(m Media, sign int64) error {
	if m.Kind == MediaRemote {
		return nil
	}
	owners := []id.UserID{m.Owner}
	if m.Owner != "" {
		owners = append(owners, "")
	}
	for _, owner := range owners {
		if _, err := tx.exec(`insert into media_usage (owner, files, bytes) values ($1, $2, $3)
			on conflict (owner) do update set files = media_usage.files + excluded.files, bytes = media_usage.bytes + excluded.bytes`,
			owner, sign, sign*m.Size); err != nil {
			return fmt.Errorf("count media: %w", err)
		}
	}
	return nil
}
