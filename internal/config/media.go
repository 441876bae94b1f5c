package config

import "time"

// Media configures the media repository.
type Media struct {
	// The directory of the files.
	Dir string `key:"dir"`
	// The freeze: media is served to logged-in users only.
	Freeze Freeze `key:"freeze"`
	// false: the legacy download and thumbnail endpoints answer 404 M_NOT_FOUND for everything.
	LegacyEndpoints bool `key:"legacy_endpoints" reload:"yes"`
	// Whether to ask a remote server's legacy endpoints where it does not know the authenticated ones.
	LegacyRemoteFallback bool `key:"legacy_remote_fallback" reload:"yes"`
	// Servers whose media is not shown here, neither newly fetched nor from a copy: names such as example.org.
	PreventDownloadsFrom []string `key:"prevent_downloads_from" reload:"yes"`
	// How long copies of other servers' media are kept. 0s: for ever. What is wanted again is fetched again, and is then new to the freeze.
	RemoteLifetime time.Duration `key:"remote_lifetime" reload:"yes"`
	// What copies of other servers' media may take together, as counted once an hour; beyond it the oldest go. 0 B: no limit.
	RemoteQuota ByteSize `key:"remote_quota" reload:"yes"`
	// The largest upload, and the largest file that is fetched from other servers.
	MaxUpload ByteSize `key:"max_upload" reload:"yes"`
	// What all uploads of one user may take together. 0 B: no limit.
	UserQuota ByteSize `key:"user_quota" reload:"yes"`
	// What all local media may take together. 0 B: no limit.
	TotalQuota ByteSize `key:"total_quota" reload:"yes"`
	// The most pixels (all frames of an animation together) of a picture that thumbnails are made of.
	MaxPixels int64 `key:"max_pixels"`
	// The most frames of an animated thumbnail.
	MaxFrames int `key:"max_frames"`
	// Thumbnails made at the same time; further ones wait.
	ThumbnailWorkers int `key:"thumbnail_workers"`
	// How long an id made by /media/v1/create waits for its upload.
	PendingLifetime time.Duration `key:"pending_lifetime" reload:"yes"`
	// How many such ids one user may have waiting.
	MaxPending int `key:"max_pending" reload:"yes"`
	// The longest that a download waits for an upload still pending, whatever its timeout_ms says.
	MaxWait time.Duration `key:"max_wait" reload:"yes"`
	// Previews of links.
	PreviewURL PreviewURL `key:"preview_url"`
}

// Freeze is the toggle of authenticated media.
type Freeze struct {
	// The toggle; false: the legacy endpoints serve everything, as before Matrix 1.11.
	Enabled bool `key:"enabled" reload:"yes"`
	// An instant (RFC 3339, for instance "2024-09-04T00:00:00Z"): media that became available here at or after it needs
	// authentication. Empty: since ever, i.e. nothing is served without authentication.
	At time.Time `key:"at" reload:"yes"`
}

// PreviewURL configures link previews.
type PreviewURL struct {
	// Whether the server fetches pages to preview links in messages.
	Enabled bool `key:"enabled" reload:"yes"`
	// The most that is read of a page or its picture.
	MaxSize ByteSize `key:"max_size" reload:"yes"`
	// How long fetching one page may take.
	Timeout time.Duration `key:"timeout" reload:"yes"`
	// How long a preview is kept.
	CacheLifetime time.Duration `key:"cache_lifetime" reload:"yes"`
}

func defaultMedia() Media {
	return Media{
		Dir:                  "media",
		Freeze:               Freeze{Enabled: true},
		LegacyEndpoints:      true,
		LegacyRemoteFallback: true,
		RemoteLifetime:       0,
		RemoteQuota:          0,
		MaxUpload:            50 * MiB,
		MaxPixels:            50_000_000,
		MaxFrames:            200,
		ThumbnailWorkers:     2,
		PendingLifetime:      24 * time.Hour,
		MaxPending:           10,
		MaxWait:              time.Minute,
		PreviewURL: PreviewURL{
			Enabled:       true,
			MaxSize:       10 * MiB,
			Timeout:       10 * time.Second,
			CacheLifetime: 24 * time.Hour,
		},
	}
}
