package tests

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// picture is a PNG of a size, in one colour.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		m.Set(i%width, i/width, color.RGBA{200, 80, 20, 255})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSharingAPicture(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	content := picture(t, 400, 300)
	file := alice.Upload(content, "image/png")
	alice.Send(room, "m.room.message", fields{"msgtype": "m.image", "body": "soup.png", "url": file})

	uri, err := id.ParseMXC(bob.WaitFor(room, "soup.png").At("content", "url").Str)
	if err != nil {
		t.Fatal(err)
	}
	got := bob.Download(uri)
	equal(t, "status", got.Status, 200)
	equal(t, "content", bytes.Equal(got.Body, content), true)
	equal(t, "type", got.Header.Get("Content-Type"), "image/png")

	thumbnail := bob.Do("GET", "/_matrix/client/v1/media/"+path("thumbnail", uri.Server, uri.MediaID)+"?width=32&height=32&method=crop", nil)
	equal(t, "status of the thumbnail", thumbnail.Status, 200)
	m, _, err := image.DecodeConfig(bytes.NewReader(thumbnail.Body))
	if err != nil || m.Width != 32 || m.Height != 32 {
		t.Errorf("the thumbnail is %dx%d: %v", m.Width, m.Height, err)
	}
	stranger := a.Nobody()
	equal(t, "without a token", stranger.Download(uri).Refused(401, "M_MISSING_TOKEN"), true)
	equal(t, "the legacy way", stranger.LegacyDownload(uri).Refused(404, "M_NOT_FOUND"), true)
	equal(t, "what is not there", bob.Download(id.MXC{Server: a.Name, MediaID: "nothing"}).Refused(404, "M_NOT_FOUND"), true)
	stranger.Refused("POST", "/_matrix/media/v3/upload", "soup", 401, "M_MISSING_TOKEN")
}

func TestUploadingLater(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	made := alice.Must("POST", "/_matrix/media/v1/create", fields{})
	file, err := id.ParseMXC(made.Get("content_uri").Str)
	if err != nil {
		t.Fatal(err)
	}
	pending := bob.Do("GET", hearthtest.DownloadPath("/_matrix/client/v1/media", file)+"?timeout_ms=0", nil)
	equal(t, "before the upload", pending.Refused(504, "M_NOT_YET_UPLOADED"), true)
	put := "/_matrix/media/v3/" + path("upload", file.Server, file.MediaID)
	text := http.Header{"Content-Type": {"text/plain"}}
	equal(t, "somebody else", bob.DoWith("PUT", put, "lies", text).Refused(403, "M_FORBIDDEN"), true)
	equal(t, "the upload", alice.DoWith("PUT", put, "recipe", text).Status, 200)
	equal(t, "once more", alice.DoWith("PUT", put, "other recipe", text).Refused(409, "M_CANNOT_OVERWRITE_MEDIA"), true)
	equal(t, "afterwards", string(bob.Download(file).Body), "recipe")
}

func TestFreezeIsReloaded(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	a := hearthtest.Start(t, hearthtest.WithClock(now), hearthtest.WithConfig(func(c *config.Config) { c.Media.Freeze.Enabled = false }))
	alice, stranger := a.User("alice"), a.Nobody()
	before := alice.Upload([]byte("before"), "text/plain")
	now.Advance(time.Hour)
	instant := now.Now()
	after := alice.Upload([]byte("after"), "text/plain")

	states := []struct {
		name          string
		freeze        config.Freeze
		before, after bool // served the legacy way
	}{
		{"off", config.Freeze{}, true, true},
		{"on since ever", config.Freeze{Enabled: true}, false, false},
		{"off again", config.Freeze{}, true, true},
		{"on since an instant in between", config.Freeze{Enabled: true, At: instant}, true, false},
		{"on from an instant to come", config.Freeze{Enabled: true, At: instant.Add(time.Hour)}, true, true},
		{"on since ever again", config.Freeze{Enabled: true}, false, false},
	}
	unknown := stranger.LegacyDownload(id.MXC{Server: a.Name, MediaID: "nothing"})
	for _, state := range states {
		a.Reload(func(c *config.Config) { c.Media.Freeze = state.freeze })
		for file, served := range map[id.MXC]bool{before: state.before, after: state.after} {
			got := stranger.LegacyDownload(file)
			if served {
				equal(t, state.name, got.Status, 200)
			} else {
				equal(t, state.name, []any{got.Status, string(got.Body)}, []any{404, string(unknown.Body)})
			}
			equal(t, state.name+": for those who are logged in", alice.Download(file).Status, 200)
		}
	}
	a.Restart()
	equal(t, "after a restart", stranger.LegacyDownload(before).Status, 404)
}

// What an operator can do to single media on the command line.
func TestTheOperatorOverrulesTheFreeze(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithConfig(func(cfg *config.Config) { cfg.Media.Freeze = config.Freeze{Enabled: true} }))
	alice, stranger := a.User("alice"), a.Nobody()
	uri := alice.Upload(picture(t, 8, 8), "image/png")
	console, ctx := a.Console(), t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "frozen", stranger.LegacyDownload(uri).Status, 404)
	do(console.SetMediaAccess(ctx, uri.String(), "public"))
	equal(t, "made public", stranger.LegacyDownload(uri).Status, 200)
	do(console.QuarantineMedia(ctx, uri.String(), true))
	equal(t, "in quarantine", stranger.LegacyDownload(uri).Status, 404)
	equal(t, "in quarantine, with a token", alice.Download(uri).Status, 404)
	file, err := console.ShowMedia(ctx, uri.String())
	do(err)
	equal(t, "what is shown", []any{file.Owner, file.Type, file.Access, file.Quarantined, file.Frozen},
		[]any{string(alice.ID), "image/png", "public", true, false})
	do(console.QuarantineMedia(ctx, uri.String(), false))
	equal(t, "released", alice.Download(uri).Status, 200)
	do(console.SetMediaAccess(ctx, uri.String(), "freeze"))
	equal(t, "frozen again", stranger.LegacyDownload(uri).Status, 404)
	if console.SetMediaAccess(ctx, uri.String(), "all") == nil || console.QuarantineMedia(ctx, "mxc://"+string(a.Name)+"/none", true) == nil {
		t.Error("nonsense was accepted")
	}
}
