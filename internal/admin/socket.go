package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/hearthd/hearth/internal/merr"
)

// maxBody bounds requests; maxAnswer bounds what a client reads, about a hundred thousand accounts.
const (
	maxBody   = 64 << 10
	maxAnswer = 32 << 20
)

// ErrNoServer says that no server listens on the socket.
var ErrNoServer = errors.New("no server is running")

// call is the body of a request.
type call struct {
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Admin    bool   `json:"admin,omitempty"`
	Erase    bool   `json:"erase,omitempty"`
	MXC      string `json:"mxc,omitempty"`
	Access   string `json:"access,omitempty"`
	Hidden   bool   `json:"hidden,omitempty"`
	Text     string `json:"text,omitempty"`
	Number   int64  `json:"number,omitempty"`
}

// answer is the body of every response.
type answer struct {
	User  string `json:"user,omitempty"`
	Users []User `json:"users,omitempty"`
	File  File   `json:"file,omitzero"`

	Trials  []PushTrial `json:"trials,omitempty"`
	Reports []Report    `json:"reports,omitempty"`
	Error   string      `json:"error,omitempty"`
}

// Listen opens the socket, readable and writable for its owner only. A socket left behind by a server that died is replaced.
func Listen(path string) (net.Listener, error) {
	ln, err := listenPrivately(path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another server listens on %s", path)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return listenPrivately(path)
}

func listenPrivately(path string) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// Handler serves the calls of a Client.
func Handler(server Server) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, do func(context.Context, call) (answer, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var in call
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
				reply(w, http.StatusBadRequest, answer{Error: "the request is not JSON"})
				return
			}
			out, err := do(r.Context(), in)
			if err != nil {
				reply(w, http.StatusUnprocessableEntity, answer{Error: explain(err)})
				return
			}
			reply(w, http.StatusOK, out)
		})
	}
	handle("/user/create", func(ctx context.Context, in call) (answer, error) {
		user, err := server.CreateUser(ctx, in.User, in.Password, in.Admin)
		return answer{User: user}, err
	})
	handle("/user/reset-password", func(ctx context.Context, in call) (answer, error) {
		user, err := server.ResetPassword(ctx, in.User, in.Password)
		return answer{User: user}, err
	})
	handle("/user/deactivate", func(ctx context.Context, in call) (answer, error) {
		user, err := server.Deactivate(ctx, in.User, in.Erase)
		return answer{User: user}, err
	})
	handle("/user/list", func(ctx context.Context, _ call) (answer, error) {
		users, err := server.ListUsers(ctx)
		return answer{Users: users}, err
	})
	handle("/media/show", func(ctx context.Context, in call) (answer, error) {
		file, err := server.ShowMedia(ctx, in.MXC)
		return answer{File: file}, err
	})
	handle("/media/quarantine", func(ctx context.Context, in call) (answer, error) {
		return answer{}, server.QuarantineMedia(ctx, in.MXC, in.Hidden)
	})
	handle("/media/access", func(ctx context.Context, in call) (answer, error) {
		return answer{}, server.SetMediaAccess(ctx, in.MXC, in.Access)
	})
	handle("/push/test", func(ctx context.Context, in call) (answer, error) {
		trials, err := server.TestPushers(ctx, in.User)
		return answer{Trials: trials}, err
	})
	handle("/notice/send", func(ctx context.Context, in call) (answer, error) {
		user, err := server.SendNotice(ctx, in.User, in.Text)
		return answer{User: user}, err
	})
	handle("/report/list", func(ctx context.Context, _ call) (answer, error) {
		reports, err := server.ListReports(ctx)
		return answer{Reports: reports}, err
	})
	handle("/report/delete", func(ctx context.Context, in call) (answer, error) {
		return answer{}, server.DeleteReport(ctx, in.Number)
	})
	profiles(mux)
	return mux
}

// explain shows the operator what a client would be told, and the whole story otherwise: whoever opens the socket may know.
func explain(err error) string {
	var known *merr.Error
	if errors.As(err, &known) {
		return known.Msg
	}
	return err.Error()
}

func reply(w http.ResponseWriter, status int, out answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out) // an error here means that the client has gone
}

// Client asks a running server.
type Client struct{ http http.Client }

// Dial finds the server that listens on the socket; ErrNoServer if there is none.
func Dial(ctx context.Context, path string) (*Client, error) {
	if path == "" {
		return nil, ErrNoServer
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoServer
	}
	if err != nil {
		return nil, fmt.Errorf("reach the running server: %w", err)
	}
	conn.Close()
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	}}}, nil
}

// CreateUser makes an account and returns its user id.
func (c *Client) CreateUser(ctx context.Context, user, password string, admin bool) (string, error) {
	out, err := c.do(ctx, "/user/create", call{User: user, Password: password, Admin: admin})
	return out.User, err
}

// ResetPassword sets a password and ends all sessions of the user.
func (c *Client) ResetPassword(ctx context.Context, user, password string) (string, error) {
	out, err := c.do(ctx, "/user/reset-password", call{User: user, Password: password})
	return out.User, err
}

// Deactivate closes an account for ever, with erase also hiding what the user wrote.
func (c *Client) Deactivate(ctx context.Context, user string, erase bool) (string, error) {
	out, err := c.do(ctx, "/user/deactivate", call{User: user, Erase: erase})
	return out.User, err
}

// ListUsers lists all accounts.
func (c *Client) ListUsers(ctx context.Context) ([]User, error) {
	out, err := c.do(ctx, "/user/list", call{})
	return out.Users, err
}

// ShowMedia says what is known of media.
func (c *Client) ShowMedia(ctx context.Context, mxc string) (File, error) {
	out, err := c.do(ctx, "/media/show", call{MXC: mxc})
	return out.File, err
}

// QuarantineMedia hides media from everybody, or ends that.
func (c *Client) QuarantineMedia(ctx context.Context, mxc string, hidden bool) error {
	_, err := c.do(ctx, "/media/quarantine", call{MXC: mxc, Hidden: hidden})
	return err
}

// SetMediaAccess overrules the freeze for one media.
func (c *Client) SetMediaAccess(ctx context.Context, mxc, access string) error {
	_, err := c.do(ctx, "/media/access", call{MXC: mxc, Access: access})
	return err
}

// SendNotice sends a text to a user and returns the user's id.
func (c *Client) SendNotice(ctx context.Context, user, text string) (string, error) {
	out, err := c.do(ctx, "/notice/send", call{User: user, Text: text})
	return out.User, err
}

// ListReports lists what users have reported, the newest first.
func (c *Client) ListReports(ctx context.Context) ([]Report, error) {
	out, err := c.do(ctx, "/report/list", call{})
	return out.Reports, err
}

// DeleteReport removes a report.
func (c *Client) DeleteReport(ctx context.Context, number int64) error {
	_, err := c.do(ctx, "/report/delete", call{Number: number})
	return err
}

// TestPushers sends a notification to all pushers of a user.
func (c *Client) TestPushers(ctx context.Context, user string) ([]PushTrial, error) {
	out, err := c.do(ctx, "/push/test", call{User: user})
	return out.Trials, err
}

func (c *Client) do(ctx context.Context, path string, in call) (answer, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hearth"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("ask the running server: %w", err)
	}
	defer res.Body.Close()
	var out answer
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&out); err != nil {
		return answer{}, fmt.Errorf("read the running server's answer: %w", err)
	}
	if out.Error != "" {
		return answer{}, errors.New(out.Error)
	}
	return out, nil
}
