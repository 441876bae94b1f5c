package hearthtest

import (
	"net/http"
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Upload uploads a file.
func (u *User) Upload(content []byte, contentType string) id.MXC {
	u.t.Helper()
	r := u.DoWith("POST", "/_matrix/media/v3/upload", content, http.Header{"Content-Type": {contentType}})
	uri, err := id.ParseMXC(r.Get("content_uri").Str)
	if r.Status != http.StatusOK || err != nil {
		u.t.Fatalf("upload: %d %s", r.Status, r.Body)
	}
	return uri
}

// Download fetches a file through the endpoint for those who are logged in.
func (u *User) Download(file id.MXC) Response {
	u.t.Helper()
	return u.Do("GET", DownloadPath("/_matrix/client/v1/media", file), nil)
}

// LegacyDownload fetches a file through the endpoint for everybody, as the user: with the token, where there is one.
func (u *User) LegacyDownload(file id.MXC) Response {
	u.t.Helper()
	return u.Do("GET", DownloadPath("/_matrix/media/v3", file), nil)
}

// DownloadPath is the path of a file below one of the prefixes of the media API.
func DownloadPath(prefix string, file id.MXC) string {
	return strings.Join([]string{prefix, "download", Path(file.Server, file.MediaID)}, "/")
}
