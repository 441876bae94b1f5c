package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const devicesPath = "/_matrix/client/v3/devices"

func TestDevices(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	r.login("alice", `"device_id":"D2","initial_device_display_name":"device display"`)
	bob := r.register("bob")

	t.Run("they are listed", func(t *testing.T) {
		got := alice.must("GET", devicesPath, "")
		names := map[string]bool{}
		for _, d := range got.Get("devices").Array() {
			names[d.Get("device_id").Str] = true
		}
		if len(names) != 2 || !names["D2"] || !names[alice.device] {
			t.Error(got.Raw)
		}
	})
	t.Run("one by one", func(t *testing.T) {
		alice.wantJSON(devicesPath+"/D2", `{"device_id":"D2","display_name":"device display"}`)
		alice.refused("GET", devicesPath+"/unknown", "", 404, "M_NOT_FOUND")
		bob.refused("GET", devicesPath+"/D2", "", 404, "M_NOT_FOUND")
	})
	t.Run("they are renamed", func(t *testing.T) {
		alice.must("PUT", devicesPath+"/D2", `{"display_name":"new\u0000 name"}`)
		alice.must("PUT", devicesPath+"/D2", `{}`)
		alice.wantJSON(devicesPath+"/D2", `{"device_id":"D2","display_name":"new name"}`)
		alice.refused("PUT", devicesPath+"/unknown", `{"display_name":"x"}`, 404, "M_NOT_FOUND")
		alice.refused("PUT", devicesPath+"/unknown", `{}`, 404, "M_NOT_FOUND")
		alice.refused("PUT", devicesPath+"/D2", `{"display_name":1}`, 400, "M_BAD_JSON")
		alice.refused("PUT", devicesPath+"/D2", `{"display_name":"`+strings.Repeat("x", 300)+`"}`, 400, "M_INVALID_PARAM")
	})
	t.Run("deleting one takes its owner's password", func(t *testing.T) {
		other := r.login("alice", `"device_id":"D3"`)
		alice.challenged("DELETE", devicesPath+"/D3", "")
		alice.refused("DELETE", devicesPath+"/D3", "{"+alice.auth("wrong")+"}", 401, "M_FORBIDDEN")
		alice.refused("DELETE", devicesPath+"/D3", "{"+bob.auth(password)+"}", 403, "M_FORBIDDEN")
		other.must("GET", whoamiPath, "")
		alice.must("DELETE", devicesPath+"/D3", "{"+alice.auth(password)+"}")
		other.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		alice.refused("GET", devicesPath+"/D3", "", 404, "M_NOT_FOUND")
		alice.must("DELETE", devicesPath+"/D3", "{"+alice.auth(password)+"}")
	})
	t.Run("several are deleted at once", func(t *testing.T) {
		const path = "/_matrix/client/v3/delete_devices"
		a, b := r.login("alice", `"device_id":"A"`), r.login("alice", `"device_id":"B"`)
		alice.challenged("POST", path, `{"devices":["A","B"]}`)
		alice.refused("POST", path, `{"devices":"A"}`, 400, "M_BAD_JSON")
		alice.refused("POST", path, "{"+alice.auth(password)+"}", 400, "M_MISSING_PARAM")
		alice.must("POST", path, `{"devices":["A","B","unknown",""],`+alice.auth(password)+"}")
		a.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		b.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		alice.must("GET", whoamiPath, "")
	})
}

func TestWhenADeviceWasLastSeen(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	seen := func() string {
		t.Helper()
		d := alice.must("GET", devicesPath+"/"+alice.device, "")
		return fmt.Sprint(d.Get("last_seen_ts").Int(), " ", d.Get("last_seen_ip").Str)
	}
	start := r.clock.Now().UnixMilli()
	if got, want := seen(), fmt.Sprint(start, " 192.0.2.1"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r.clock.Advance(30 * time.Second)
	if got, want := seen(), fmt.Sprint(start, " 192.0.2.1"); got != want {
		t.Errorf("within a minute: got %s, want %s", got, want)
	}
	r.clock.Advance(30 * time.Second)
	if got, want := seen(), fmt.Sprint(start+60_000, " 192.0.2.1"); got != want {
		t.Errorf("after a minute: got %s, want %s", got, want)
	}
	who := alice.must("GET", "/_matrix/client/v3/admin/whois/@alice:hs", "")
	if got := who.Get("devices." + alice.device + ".sessions.0.connections.0.user_agent").Str; got != "test agent" {
		t.Error(who.Raw)
	}
}
