package mediaapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The names F1 to F16 are those of MEDIA.md.

var (
	ever   time.Time
	past   = start.Add(-24 * time.Hour)
	future = start.Add(24 * time.Hour)
	theirs = id.MXC{Server: "elsewhere", MediaID: "abc"}
)

func TestFrozen(t *testing.T) {
	before := storage.Media{AvailableTS: start.UnixMilli() - 1}
	exactly := storage.Media{AvailableTS: start.UnixMilli()}
	with := func(m storage.Media, access storage.MediaAccess) storage.Media {
		m.Access = access
		return m
	}
	for _, tt := range []struct {
		name   string
		policy Policy
		media  storage.Media
		want   bool
	}{
		{"off hides nothing", Policy{}, exactly, false},
		{"off hides nothing, whatever the instant", Policy{At: past}, exactly, false},
		{"on without an instant hides everything", Policy{Enabled: true}, before, true},
		{"the millisecond before the instant is free", Policy{Enabled: true, At: start}, before, false},
		{"the instant itself is frozen", Policy{Enabled: true, At: start}, exactly, true},
		{"an instant within the millisecond counts from its start", Policy{Enabled: true, At: start.Add(time.Microsecond)}, exactly, true},
		{"an instant of another zone is the same instant", Policy{Enabled: true, At: start.In(time.FixedZone("", 3600))}, exactly, true},
		{"an instant in the future hides nothing yet", Policy{Enabled: true, At: future}, exactly, false},
		{"public beats on", Policy{Enabled: true}, with(exactly, storage.MediaPublic), false},
		{"restricted beats off", Policy{}, with(before, storage.MediaRestricted), true},
		{"restricted beats an instant", Policy{Enabled: true, At: start}, with(before, storage.MediaRestricted), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := frozen(tt.policy, tt.media); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestFreezeByTime shows media from three moments under every kind of policy, on every legacy prefix and form of download.
func TestFreezeByTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*config.Media)
		served [3]bool // uploaded an hour before start, at start, an hour after
	}{
		{"toggle off", freeze(false, ever), [3]bool{true, true, true}},
		{"toggle off with an instant", freeze(false, past), [3]bool{true, true, true}},
		{"on since ever", freeze(true, ever), [3]bool{false, false, false}},
		{"on since the past", freeze(true, past), [3]bool{false, false, false}},
		{"on since the present", freeze(true, start), [3]bool{true, false, false}},
		{"on from an instant between", freeze(true, start.Add(time.Minute)), [3]bool{true, true, false}},
		{"on from the future", freeze(true, future), [3]bool{true, true, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.change)
			var media [3]id.MXC
			media[1] = r.upload("b", "text/plain", "")
			r.clock.Advance(time.Hour)
			media[2] = r.upload("c", "text/plain", "")
			media[0] = id.MXC{Server: "hs1", MediaID: "fromBefore"}
			r.insertCopy(r.row(media[1]), media[0], start.Add(-time.Hour))
			for i, mxc := range media {
				for _, prefix := range []string{"r0", "v1", "v3"} {
					for _, name := range []string{"", "/name.txt"} {
						what := fmt.Sprintf("media %d on %s%s", i, prefix, name)
						rec := r.get("/_matrix/media/"+prefix+"/download/"+mxcPath(mxc)+name, "")
						if tt.served[i] {
							expect(t, what, rec, 200, "")
						} else {
							expect(t, what, rec, 404, merr.NotFound)
						}
					}
				}
				expect(t, fmt.Sprintf("media %d, authenticated", i), r.authed(mxc), 200, "")
			}
		})
	}
}

// insertCopy makes a row like m with another URI that became available at another time.
func (r *rig) insertCopy(m storage.Media, mxc id.MXC, at time.Time) {
	r.t.Helper()
	m.MXC, m.CreatedTS, m.AvailableTS = mxc, at.UnixMilli(), at.UnixMilli()
	if err := r.store.Update(r.t.Context(), func(tx *storage.Tx) error {
		_, err := tx.InsertMedia(m)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
}

func TestFreezeF1F4SameBytesAreNotTheSameMedia(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	before := r.upload("same", "text/plain", "")
	r.clock.Advance(time.Hour)
	after := r.upload("same", "text/plain", "")
	if before == after || r.row(before).Blob != r.row(after).Blob {
		t.Fatalf("want two URIs of one blob, got %+v and %+v", r.row(before), r.row(after))
	}
	expect(t, "uploaded before", r.legacy(before), 200, "")
	expect(t, "uploaded after", r.legacy(after), 404, merr.NotFound)

	if err := r.Delete(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	expect(t, "after the other is deleted", r.authed(after), 200, "")
}

func TestFreezeF2AsyncUploadCountsFromItsCompletion(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	early, late := r.create(), r.create()
	expect(t, "put before", r.put(early, "alice", "x"), 200, "")
	r.clock.Advance(time.Hour)
	expect(t, "put after", r.put(late, "alice", "x"), 200, "")
	expect(t, "completed before", r.legacy(early), 200, "")
	expect(t, "created before, completed after", r.legacy(late), 404, merr.NotFound)
}

func TestFreezeF3RemoteMediaCountsFromItsCopy(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	r.remote.has(theirs, "hello", "text/plain")
	expect(t, "fetched before", r.authed(theirs), 200, "")
	r.clock.Advance(time.Hour)
	expect(t, "cached before", r.legacy(theirs), 200, "")

	if err := r.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	expect(t, "fetched again", r.authed(theirs), 200, "")
	expect(t, "a new copy is new media", r.legacy(theirs), 404, merr.NotFound)
}

func TestFreezeF5ThumbnailsFollowTheirMedia(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	before := r.upload(picture(t, 400, 300), "image/png", "")
	r.clock.Advance(time.Hour)
	after := r.upload(picture(t, 400, 300), "image/png", "")
	for _, size := range []string{"?width=32&height=32&method=crop", "?width=2000&height=2000"} {
		for _, prefix := range []string{"r0", "v1", "v3"} {
			path := "/_matrix/media/" + prefix + "/thumbnail/"
			expect(t, "made after the freeze for free media", r.get(path+mxcPath(before)+size, ""), 200, "")
			expect(t, "not made yet for frozen media", r.get(path+mxcPath(after)+size, ""), 404, merr.NotFound)
		}
		expect(t, "authenticated", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(after)+size, "alice"), 200, "")
		expect(t, "made for frozen media", r.get("/_matrix/media/v3/thumbnail/"+mxcPath(after)+size, ""), 404, merr.NotFound)
	}
}

func TestFreezeF6AnonymousRequestsMakeNoOutboundRequestsWhileFrozen(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*config.Media)
		asks   bool
	}{
		{"on since ever", freeze(true, ever), false},
		{"on since the past", freeze(true, past), false},
		{"on since the present", freeze(true, start), false},
		{"on from the future", freeze(true, future), true},
		{"off", freeze(false, past), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.change)
			r.remote.has(theirs, picture(t, 50, 50), "image/png")
			for _, path := range []string{"r0/download/", "v1/download/", "v3/download/", "v3/thumbnail/"} {
				rec := r.get("/_matrix/media/"+path+mxcPath(theirs)+"?width=10&height=10", "")
				if tt.asks {
					expect(t, path, rec, 200, "")
				} else {
					expect(t, path, rec, 404, merr.NotFound)
				}
			}
			if asked := r.remote.requests(); len(asked) > 0 != tt.asks {
				t.Errorf("outbound requests: %+v", asked)
			}
			expect(t, "authenticated", r.authed(theirs), 200, "")
		})
	}
}

func TestFreezeF7AnonymousRequestsAreNeverSigned(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	other := id.MXC{Server: "elsewhere", MediaID: "other"}
	r.remote.has(theirs, "a", "text/plain")
	r.remote.has(other, "b", "text/plain")
	expect(t, "anonymous", r.legacy(theirs), 200, "")
	expect(t, "authenticated", r.authed(other), 200, "")
	expect(t, "allow_remote=false", r.get("/_matrix/media/v3/download/elsewhere/third?allow_remote=false", ""), 404, merr.NotFound)
	want := []RemoteRequest{
		{MXC: theirs, LegacyOnly: true, Fallback: true, Limit: 1 << 20},
		{MXC: other, Fallback: true, Limit: 1 << 20},
	}
	if diff := cmp.Diff(want, r.remote.requests()); diff != "" {
		t.Errorf("outbound requests (-want +got):\n%s", diff)
	}
}

func TestFreezeIsDecidedWhenTheBytesAreHere(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	r.remote.has(theirs, "a", "text/plain")
	r.remote.during = func() { r.reload(freeze(true, ever)) }
	expect(t, "the freeze began during the fetch", r.legacy(theirs), 404, merr.NotFound)
	expect(t, "authenticated", r.authed(theirs), 200, "")
}

func TestFreezeF8LostCopiesAreFetchedAgainForUsersOnly(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	r.remote.has(theirs, "hello", "text/plain")
	expect(t, "fetched before", r.authed(theirs), 200, "")
	r.clock.Advance(time.Hour)
	r.loseFile(theirs)
	r.remote.requests()

	expect(t, "anonymous", r.legacy(theirs), 404, merr.NotFound)
	if asked := r.remote.requests(); len(asked) != 0 {
		t.Errorf("outbound requests for an anonymous caller: %+v", asked)
	}
	rec := r.authed(theirs)
	expect(t, "authenticated", rec, 200, "")
	if rec.Body.String() != "hello" {
		t.Errorf("body %q", rec.Body)
	}
	expect(t, "the new copy is frozen", r.legacy(theirs), 404, merr.NotFound)
}

func TestFreezeF8AnonymousRequestsDoNotFetchLostCopiesWithTheFreezeOffEither(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	r.remote.has(theirs, "hello", "text/plain")
	expect(t, "first copy", r.legacy(theirs), 200, "")
	r.loseFile(theirs)
	r.remote.requests()
	expect(t, "anonymous", r.legacy(theirs), 404, merr.NotFound)
	if asked := r.remote.requests(); len(asked) != 0 {
		t.Errorf("outbound requests: %+v", asked)
	}
	expect(t, "authenticated", r.authed(theirs), 200, "")
	expect(t, "anonymous, mended", r.legacy(theirs), 200, "")
}

func (r *rig) loseFile(mxc id.MXC) {
	r.t.Helper()
	if err := r.blobs.Delete(blobHash(r.row(mxc))); err != nil {
		r.t.Fatal(err)
	}
}

func TestFreezeF9ReloadHasNoMemory(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	free := r.upload("a", "text/plain", "")
	r.clock.Advance(time.Hour)
	new := r.upload("b", "text/plain", "")
	for _, step := range []struct {
		name          string
		change        func(*config.Media)
		free, frozen_ int
	}{
		{"as it began", func(*config.Media) {}, 200, 404},
		{"off", freeze(false, start.Add(time.Minute)), 200, 200},
		{"on again", freeze(true, start.Add(time.Minute)), 200, 404},
		{"since ever", freeze(true, ever), 404, 404},
		{"from the future", freeze(true, future), 200, 200},
		{"since the instant of the first", freeze(true, start), 404, 404},
		{"off again", freeze(false, ever), 200, 200},
		{"as it began, again", freeze(true, start.Add(time.Minute)), 200, 404},
	} {
		r.reload(step.change)
		for what, want := range map[id.MXC]int{free: step.free, new: step.frozen_} {
			if got := r.legacy(what); got.Code != want {
				t.Errorf("%s: %s: status %d, want %d", step.name, what, got.Code, want)
			}
			expect(t, step.name+", authenticated", r.authed(what), 200, "")
		}
	}
	// What was uploaded while the freeze was off is frozen with the rest when it is on.
	r.reload(freeze(false, ever))
	while := r.upload("c", "text/plain", "")
	expect(t, "uploaded while off", r.legacy(while), 200, "")
	r.reload(freeze(true, start.Add(time.Minute)))
	expect(t, "uploaded while off, now on", r.legacy(while), 404, merr.NotFound)

	if n := strings.Count(r.log.String(), "media freeze changed"); n != 9 {
		t.Errorf("%d changes logged, want 9:\n%s", n, r.log)
	}
	if !strings.Contains(r.log.String(), "at=2024-09-01T13:00:00.000Z") {
		t.Errorf("the log does not say when:\n%s", r.log)
	}
}

func TestFreezeF10RefusalLooksLikeUnknownMedia(t *testing.T) {
	r := newRig(t)
	mxc := r.upload("x", "text/plain", "secret.txt")
	for _, prefix := range []string{"r0", "v1", "v3"} {
		for _, path := range []string{"/download/hs1/%s", "/download/hs1/%s/name", "/thumbnail/hs1/%s?width=10&height=10"} {
			path = "/_matrix/media/" + prefix + path
			frozen := r.get(fmt.Sprintf(path, mxc.MediaID), "", "Origin", "https://app.example")
			unknown := r.get(fmt.Sprintf(path, "doesnotexist"), "", "Origin", "https://app.example")
			expect(t, path, frozen, 404, merr.NotFound)
			if diff := cmp.Diff(unknown.Body.String(), frozen.Body.String()); diff != "" {
				t.Errorf("%s: bodies differ:\n%s", path, diff)
			}
			ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "X-Request-Id" }, cmp.Ignore())
			unknown.Header().Del("X-Request-Id")
			frozen.Header().Del("X-Request-Id")
			if diff := cmp.Diff(unknown.Header(), frozen.Header(), ignore); diff != "" {
				t.Errorf("%s: headers differ:\n%s", path, diff)
			}
			if got := frozen.Header().Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("%s: no CORS: %q", path, got)
			}
			head := r.do("HEAD", fmt.Sprintf(path, mxc.MediaID), "", nil)
			if head.Code != 404 {
				t.Errorf("%s: HEAD answers %d", path, head.Code)
			}
		}
	}
	// A token does not help: these endpoints do not look at it.
	expect(t, "with a token", r.get("/_matrix/media/v3/download/"+mxcPath(mxc), "alice"), 404, merr.NotFound)
	// Nor does knowing what the file is.
	tag := r.authed(mxc).Header().Get("ETag")
	expect(t, "with its ETag", r.get("/_matrix/media/v3/download/"+mxcPath(mxc), "", "If-None-Match", tag), 404, merr.NotFound)
}

func TestFreezeF11OtherLegacyEndpointsWorkWithAToken(t *testing.T) {
	r := newRig(t, func(m *config.Media) { m.LegacyEndpoints = false })
	expect(t, "create", r.do("POST", "/_matrix/media/v1/create", "alice", nil), 200, "")
	for _, prefix := range []string{"r0", "v1", "v3"} {
		expect(t, "upload", r.do("POST", "/_matrix/media/"+prefix+"/upload", "alice", strings.NewReader("x")), 200, "")
		expect(t, "config", r.get("/_matrix/media/"+prefix+"/config", "alice"), 200, "")
		expect(t, "config without token", r.get("/_matrix/media/"+prefix+"/config", ""), 401, merr.MissingToken)
		expect(t, "preview_url", r.get("/_matrix/media/"+prefix+"/preview_url", "alice"), 400, merr.MissingParam)
		expect(t, "preview_url without token", r.get("/_matrix/media/"+prefix+"/preview_url", ""), 401, merr.MissingToken)
	}
}

func TestFreezeF12PendingComesBeforeFrozen(t *testing.T) {
	r := newRig(t)
	mxc := r.create()
	expect(t, "legacy", r.legacy(mxc), 504, merr.NotYetUploaded)
	expect(t, "authenticated", r.authed(mxc), 504, merr.NotYetUploaded)
	if err := r.Quarantine(t.Context(), mxc, "@admin:hs1"); err != nil {
		t.Fatal(err)
	}
	expect(t, "pending comes before quarantined", r.legacy(mxc), 504, merr.NotYetUploaded)
}

func TestFreezeF13OverridesBeatThePolicy(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 64, 64), "image/png", "")
	thumb := "/_matrix/media/v3/thumbnail/" + mxcPath(mxc) + "?width=32&height=32"
	set := func(a storage.MediaAccess) {
		t.Helper()
		if err := r.SetAccess(t.Context(), mxc, a); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "frozen", r.legacy(mxc), 404, merr.NotFound)
	set(storage.MediaPublic)
	expect(t, "public", r.legacy(mxc), 200, "")
	expect(t, "thumbnail of public", r.get(thumb, ""), 200, "")
	set(storage.MediaRestricted)
	r.reload(freeze(false, ever))
	expect(t, "restricted, freeze off", r.legacy(mxc), 404, merr.NotFound)
	expect(t, "thumbnail of restricted, freeze off", r.get(thumb, ""), 404, merr.NotFound)
	expect(t, "restricted, authenticated", r.authed(mxc), 200, "")
	set(storage.MediaFollowsFreeze)
	expect(t, "no override, freeze off", r.legacy(mxc), 200, "")

	if err := r.SetAccess(t.Context(), theirs, storage.MediaPublic); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("unknown media: %v", err)
	}
}

func TestFreezeF14KnobsAreSeparate(t *testing.T) {
	r := newRig(t, freeze(false, ever), func(m *config.Media) { m.LegacyEndpoints, m.LegacyRemoteFallback = false, false })
	mxc := r.upload("x", "text/plain", "")
	r.remote.has(theirs, "y", "text/plain")
	expect(t, "legacy endpoints off", r.legacy(mxc), 404, merr.NotFound)
	expect(t, "legacy endpoints off, remote", r.legacy(theirs), 404, merr.NotFound)
	pending := r.create()
	expect(t, "legacy endpoints off, pending", r.legacy(pending), 404, merr.NotFound)
	if err := r.SetAccess(t.Context(), mxc, storage.MediaPublic); err != nil {
		t.Fatal(err)
	}
	expect(t, "legacy endpoints off, public", r.legacy(mxc), 404, merr.NotFound)
	expect(t, "authenticated", r.authed(theirs), 200, "")
	want := []RemoteRequest{{MXC: theirs, Fallback: false, Limit: 1 << 20}}
	if diff := cmp.Diff(want, r.remote.requests()); diff != "" {
		t.Errorf("outbound requests (-want +got):\n%s", diff)
	}
	r.reload(func(m *config.Media) { m.LegacyEndpoints = true })
	expect(t, "legacy endpoints on again", r.legacy(mxc), 200, "")
}

func TestFreezeF15QuarantinedMediaIsGoneForAll(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	mxc := r.upload(picture(t, 64, 64), "image/png", "")
	r.remote.has(theirs, "y", "text/plain")
	expect(t, "remote, before", r.authed(theirs), 200, "")
	if err := r.SetAccess(t.Context(), mxc, storage.MediaPublic); err != nil {
		t.Fatal(err)
	}
	for _, m := range []id.MXC{mxc, theirs} {
		if err := r.Quarantine(t.Context(), m, "@admin:hs1"); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"", "alice", "admin"} {
			expect(t, "legacy", r.get("/_matrix/media/v3/download/"+mxcPath(m), token), 404, merr.NotFound)
			expect(t, "legacy thumbnail", r.get("/_matrix/media/v3/thumbnail/"+mxcPath(m)+"?width=1&height=1", token), 404, merr.NotFound)
		}
		expect(t, "authenticated", r.authed(m), 404, merr.NotFound)
		expect(t, "thumbnail", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(m)+"?width=1&height=1", "alice"), 404, merr.NotFound)
	}
	if got := r.row(mxc); got.QuarantinedBy != "@admin:hs1" || got.QuarantinedTS != start.UnixMilli() {
		t.Errorf("row: %+v", got)
	}
	if err := r.Unquarantine(t.Context(), mxc); err != nil {
		t.Fatal(err)
	}
	expect(t, "after the quarantine", r.authed(mxc), 200, "")
}

func TestFreezeF16MetricsSayWhomAFreezeWouldBreak(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	free := r.upload("a", "text/plain", "")
	r.clock.Advance(time.Hour)
	frozen := r.upload("b", "text/plain", "")
	for agent, path := range map[string]id.MXC{
		"Synapse/1.99 (b=master)":                  free,
		"Element/1.6.1 (Linux; U; Android 13)":     frozen,
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/": frozen,
		"":                   frozen,
		"made-up-" + "12345": {Server: "hs1", MediaID: "unknown"},
	} {
		r.get("/_matrix/media/v3/download/"+mxcPath(path), "", "User-Agent", agent)
	}
	r.authed(free)
	want := `
# HELP hearth_media_legacy_total Downloads and thumbnails asked for without authentication, by client and result: served, refused by the freeze, or absent.
# TYPE hearth_media_legacy_total counter
hearth_media_legacy_total{client="browser",result="refused"} 1
hearth_media_legacy_total{client="element",result="refused"} 1
hearth_media_legacy_total{client="none",result="refused"} 1
hearth_media_legacy_total{client="other",result="absent"} 1
hearth_media_legacy_total{client="synapse",result="served"} 1
`
	if err := testutil.GatherAndCompare(r.metrics, strings.NewReader(want), "hearth_media_legacy_total"); err != nil {
		t.Error(err)
	}
}

func TestFreezeA14PreviewPicturesAreOrdinaryMedia(t *testing.T) {
	site := newSite(t)
	r := newRig(t, freeze(true, start.Add(time.Minute)))
	before := r.previewPicture(site.URL + "/page")
	r.clock.Advance(25 * time.Hour)
	after := r.previewPicture(site.URL + "/page")
	if before == after {
		t.Fatal("an expired preview was not made anew")
	}
	expect(t, "made before", r.legacy(before), 200, "")
	expect(t, "made after", r.legacy(after), 404, merr.NotFound)
	expect(t, "made after, authenticated", r.authed(after), 200, "")
}

func TestMalformedURIsAreRefusedBeforeAnythingElse(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"hs1/a.b", "hs1/a%2Fb", "hs1/..%2F..%2Fetc", "bad_server!/abc", "hs1/%F0%9F%90%94"} {
		expect(t, path, r.get("/_matrix/media/v3/download/"+path, ""), http.StatusBadRequest, merr.InvalidParam)
		expect(t, path, r.get("/_matrix/client/v1/media/download/"+path, "alice"), http.StatusBadRequest, merr.InvalidParam)
		expect(t, path, r.get("/_matrix/client/v1/media/download/"+path, ""), http.StatusUnauthorized, merr.MissingToken)
	}
}
