package mediaapi

import (
	"context"
	"errors"
	"time"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Console is the service as the command line sees it.
type Console struct{ Service *Service }

var _ admin.Media = Console{}

// accesses is the names of what can overrule the freeze.
var accesses = map[string]storage.MediaAccess{
	"freeze": storage.MediaFollowsFreeze, "public": storage.MediaPublic, "restricted": storage.MediaRestricted,
}

// ShowMedia says what is known of media.
func (c Console) ShowMedia(ctx context.Context, mxc string) (admin.File, error) {
	uri, err := parse(mxc)
	if err != nil {
		return admin.File{}, err
	}
	m, err := c.Service.Info(ctx, uri)
	if err != nil {
		return admin.File{}, explained(err)
	}
	out := admin.File{
		URI: m.MXC.String(), Owner: string(m.Owner), Type: m.ContentType, Size: m.Size, AvailableAt: time.UnixMilli(m.AvailableTS).UTC(),
		Quarantined: m.Quarantined(), Frozen: c.Service.Frozen(m),
	}
	for name, access := range accesses {
		if access == m.Access {
			out.Access = name
		}
	}
	return out, nil
}

// QuarantineMedia hides media from everybody, or ends that.
func (c Console) QuarantineMedia(ctx context.Context, mxc string, hidden bool) error {
	uri, err := parse(mxc)
	switch {
	case err != nil:
		return err
	case hidden:
		return explained(c.Service.Quarantine(ctx, uri, "the command line"))
	}
	return explained(c.Service.Unquarantine(ctx, uri))
}

// SetMediaAccess overrules the freeze for one media.
func (c Console) SetMediaAccess(ctx context.Context, mxc, access string) error {
	uri, err := parse(mxc)
	if err != nil {
		return err
	}
	a, ok := accesses[access]
	if !ok {
		return merr.New(merr.InvalidParam, "Access is public, restricted or freeze.")
	}
	return explained(c.Service.SetAccess(ctx, uri, a))
}

func parse(mxc string) (id.MXC, error) {
	uri, err := id.ParseMXC(mxc)
	if err != nil {
		return id.MXC{}, merr.New(merr.InvalidParam, "Media is named by its URI, mxc://SERVER/ID.")
	}
	return uri, nil
}

func explained(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return merr.New(merr.NotFound, "There is no such media here.")
	}
	return err
}
