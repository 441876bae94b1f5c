package mediaapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// newMXC makes a URI that nobody can guess. An upload always gets a new one, also when its bytes are known.
func (s *Service) newMXC() id.MXC { return id.MXC{Server: s.server, MediaID: rand.Text()} }

type contentURI struct {
	URI id.MXC `json:"content_uri"`
}

// upload takes a file and makes a URI for it.
//
// Spec: client-server-api#post_matrixmediav3upload
func (s *Service) upload(ctx context.Context, r *web.Request) (any, error) {
	staged, m, err := s.receive(ctx, r)
	if err != nil {
		return nil, err
	}
	defer staged.Discard()
	m.MXC = s.newMXC()
	m.CreatedTS = m.AvailableTS
	if err := s.file(ctx, staged, func(tx *storage.Tx) error {
		if err := s.checkQuota(&tx.ReadTx, m.Owner, m.Size); err != nil {
			return err
		}
		_, err := tx.InsertMedia(m)
		return err
	}); err != nil {
		return nil, s.notFiled(ctx, staged, err)
	}
	s.metrics.bytes.Add(float64(m.Size))
	return contentURI{m.MXC}, nil
}

// create makes a URI whose bytes come later.
//
// Spec: client-server-api#post_matrixmediav1create
func (s *Service) create(ctx context.Context, r *web.Request) (any, error) {
	cfg := s.config.Load()
	now := s.now()
	m := storage.Media{
		MXC: s.newMXC(), Kind: storage.MediaUpload, Owner: r.Caller.User,
		CreatedTS: now.UnixMilli(), ExpiresTS: now.Add(cfg.PendingLifetime).UnixMilli(),
	}
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		n, err := tx.PendingMedia(m.Owner, m.CreatedTS)
		if err != nil {
			return err
		}
		if n >= cfg.MaxPending {
			return merr.Newf(merr.LimitExceeded, "You have %d uploads pending already", n)
		}
		_, err = tx.InsertMedia(m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create media: %w", err)
	}
	return struct {
		contentURI
		Expires int64 `json:"unused_expires_at"`
	}{contentURI{m.MXC}, m.ExpiresTS}, nil
}

// uploadTo takes the file for a URI that create made. The media becomes available now, and so the freeze counts from now.
//
// Spec: client-server-api#put_matrixmediav3uploadservernamemediaid
func (s *Service) uploadTo(ctx context.Context, r *web.Request) (any, error) {
	mxc, err := r.MXC("serverName", "mediaID")
	if err != nil {
		return nil, err
	}
	// Who may not upload here shall not have to send the file first.
	if err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		_, err := s.awaited(tx, mxc, r.Caller.User)
		return err
	}); err != nil {
		return nil, err
	}
	staged, m, err := s.receive(ctx, r)
	if err != nil {
		return nil, err
	}
	defer staged.Discard()
	if err := s.file(ctx, staged, func(tx *storage.Tx) error {
		row, err := s.awaited(&tx.ReadTx, mxc, r.Caller.User)
		if err != nil {
			return err
		}
		if err := s.checkQuota(&tx.ReadTx, m.Owner, m.Size); err != nil {
			return err
		}
		m.NID, m.MXC = row.NID, mxc
		tx.OnCommit(func() { s.hub.Wake(hub.Media(mxc)) })
		return tx.CompleteMedia(m)
	}); err != nil {
		return nil, s.notFiled(ctx, staged, err)
	}
	s.metrics.bytes.Add(float64(m.Size))
	return web.Empty{}, nil
}

// awaited returns the row of a URI that user may upload to.
func (s *Service) awaited(tx *storage.ReadTx, mxc id.MXC, user id.UserID) (storage.Media, error) {
	m, err := tx.Media(mxc)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && m.Kind != storage.MediaUpload:
		return m, merr.New(merr.NotFound, "Unknown media id")
	case err != nil:
		return m, fmt.Errorf("look up %s: %w", mxc, err)
	case m.Pending() && m.ExpiresTS <= s.now().UnixMilli():
		return m, merr.New(merr.NotFound, "Unknown media id")
	case m.Owner != user:
		return m, merr.New(merr.Forbidden, "Somebody else created this media id")
	case !m.Pending():
		return m, merr.New(merr.CannotOverwriteMedia, "The media was uploaded already")
	}
	return m, nil
}

// maxUploading is how many uploads one user may have under way. What they have sent so far is on the disk, and counts for no quota yet.
const maxUploading = 32

// uploading counts the uploads under way, by user. The zero value is ready.
type uploading struct {
	mu    sync.Mutex
	users map[id.UserID]int
}

// begin counts one more upload of a user, or says that there are too many; end is to be called after it.
func (u *uploading) begin(user id.UserID) (end func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users[user] >= maxUploading {
		return nil, web.LimitExceeded(time.Second)
	}
	if u.users == nil {
		u.users = map[id.UserID]int{}
	}
	u.users[user]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.users[user]--; u.users[user] == 0 {
			delete(u.users, user)
		}
	}, nil
}

// receive takes the body of an upload. The row it returns lacks the URI.
func (s *Service) receive(ctx context.Context, r *web.Request) (*blob.Staged, storage.Media, error) {
	cfg := s.config.Load()
	limit := int64(cfg.MaxUpload)
	m := storage.Media{
		Kind: storage.MediaUpload, Owner: r.Caller.User,
		ContentType: cleanContentType(r.Header.Get("Content-Type")), Filename: r.Query().Get("filename"),
	}
	if err := checkFilename(m.Filename); err != nil {
		return nil, m, err
	}
	if r.ContentLength() > limit {
		return nil, m, merr.Newf(merr.TooLarge, "The file is larger than the %d bytes allowed", limit)
	}
	if err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		return s.checkQuota(tx, m.Owner, max(r.ContentLength(), 0))
	}); err != nil {
		return nil, m, err
	}
	end, err := s.uploading.begin(m.Owner)
	if err != nil {
		return nil, m, err
	}
	defer end()
	r.LimitBody(limit)
	staged, err := s.blobs.Stage(ctx, r.Body(), limit)
	if err != nil {
		return nil, m, err
	}
	m.Blob, m.Size, m.AvailableTS = string(staged.Hash), staged.Size, s.now().UnixMilli()
	return staged, m, nil
}

// checkQuota refuses media that would take its owner, if it has one, or all users together, over what they may have.
//
// Spec: client-server-api#content-repo-security-considerations (403 M_FORBIDDEN)
func (s *Service) checkQuota(tx *storage.ReadTx, owner id.UserID, size int64) error {
	cfg := s.config.Load()
	for _, q := range []struct {
		owner    id.UserID
		userOnly bool
		limit    int64
		text     string
	}{
		{owner, true, int64(cfg.UserQuota), "You have reached your quota for uploads"},
		{"", false, int64(cfg.TotalQuota), "This server has no room for more uploads"},
	} {
		if q.limit <= 0 || q.userOnly && owner == "" {
			continue
		}
		used, err := tx.MediaUsage(q.owner)
		if err != nil {
			return fmt.Errorf("check the quota: %w", err)
		}
		if size > q.limit-used.Bytes {
			return merr.New(merr.Forbidden, q.text)
		}
	}
	return nil
}

// notFiled tidies up after an upload whose rows could not be made: its blob has a name by now, which nothing may refer to.
func (s *Service) notFiled(ctx context.Context, staged *blob.Staged, err error) error {
	if tidy := s.release(context.WithoutCancel(ctx), []string{string(staged.Hash)}); tidy != nil {
		err = errors.Join(err, tidy)
	}
	return fmt.Errorf("file the upload: %w", err)
}

// limits tells clients what they may upload.
//
// Spec: client-server-api#get_matrixclientv1mediaconfig
func (s *Service) limits(context.Context, *web.Request) (any, error) {
	return struct {
		UploadSize int64 `json:"m.upload.size"`
	}{int64(s.config.Load().MaxUpload)}, nil
}
