package e2ee

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// summary is the devices that were read, and the usages of the cross-signing keys.
func (k *userKeys) summary() []string {
	out := []string{}
	if k == nil {
		return nil
	}
	for _, d := range k.devices {
		name := string(d.Device)
		if d.DisplayName != nil {
			name += "=" + *d.DisplayName
		}
		out = append(out, name)
	}
	for _, c := range k.crossSigning {
		out = append(out, c.Usage)
	}
	return out
}

func TestParseKeyAnswer(t *testing.T) {
	device := string(deviceObject(bob, "B", "x"))
	keys := newCrossSigner(bob, 1)
	master, err := json.Marshal(keys.object(storage.MasterKey, keys.master))
	if err != nil {
		t.Fatal(err)
	}
	users := func(devices string) string { return `{"device_keys":{"@bob:there":` + devices + `}}` }
	for name, test := range map[string]struct {
		in   string
		want []string // nil: nothing is known of the user
	}{
		"a device":                     {users(`{"B":` + device + `}`), []string{"B"}},
		"a device with a name":         {users(`{"B":` + device[:len(device)-1] + `,"unsigned":{"device_display_name":"n"}}}`), []string{"B=n"}},
		"a strange name":               {users(`{"B":` + device[:len(device)-1] + `,"unsigned":{"device_display_name":1}}}`), []string{"B"}},
		"no device":                    {users(`{}`), []string{}},
		"no user":                      {`{"device_keys":{}}`, nil},
		"nothing":                      {`{}`, nil},
		"another user":                 {`{"device_keys":{"@x:there":{"B":` + device + `}}}`, nil},
		"a device under another name":  {users(`{"B":` + device + `,"C":` + device + `}`), []string{"B"}},
		"a device of another user":     {users(`{"C":` + string(deviceObject(carol, "C", "x")) + `}`), []string{}},
		"devices that are a list":      {users(`[]`), nil},
		"a device that is a list":      {users(`{"B":[]}`), []string{}},
		"a device without a name":      {users(`{"":` + string(deviceObject(bob, "", "x")) + `}`), []string{}},
		"a device that is too large":   {users(`{"B":` + device[:len(device)-1] + `,"x":"` + strings.Repeat("x", maxObject) + `"}}`), []string{}},
		"too many devices":             {users(`{` + manyDevices() + `}`), nil},
		"a master key":                 {`{"device_keys":{"@bob:there":{}},"master_keys":{"@bob:there":` + string(master) + `}}`, []string{"master"}},
		"a master key under other use": {`{"device_keys":{"@bob:there":{}},"self_signing_keys":{"@bob:there":` + string(master) + `}}`, []string{}},
		"a user-signing key":           {`{"device_keys":{"@bob:there":{}},"user_signing_keys":{"@bob:there":` + string(master) + `}}`, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseKeyAnswer(json.RawMessage(test.in), []id.UserID{bob})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got[bob].summary()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, in := range []string{``, `[]`, `{"device_keys":[]}`} {
		if _, err := parseKeyAnswer(json.RawMessage(in), nil); err == nil {
			t.Errorf("%q was read", in)
		}
	}
}

func manyDevices() string {
	var b strings.Builder
	for i := range maxRemoteDevices + 1 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"D%d":{}`, i)
	}
	return b.String()
}

func TestParseUserDevices(t *testing.T) {
	device := string(deviceObject(bob, "B", "x"))
	answer := func(stream, devices string) string {
		return `{"user_id":"@bob:there","stream_id":` + stream + `,"devices":[` + devices + `]}`
	}
	for name, test := range map[string]struct {
		in      string
		want    []string
		version int64
	}{
		"a list":               {answer("7", `{"device_id":"B","keys":`+device+`,"device_display_name":"n"}`), []string{"B=n"}, 7},
		"a device twice":       {answer("7", `{"device_id":"B","keys":`+device+`},{"device_id":"B","keys":`+device+`}`), []string{"B"}, 7},
		"a device without one": {answer("7", `{"device_id":"B"}`), []string{}, 7},
		"a fraction":           {answer("7.5", ``), []string{}, 0},
		"a large number":       {answer("99999999999999999999", ``), []string{}, 0},
		"no stream_id":         {`{"user_id":"@bob:there","devices":[]}`, []string{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseUserDevices(json.RawMessage(test.in), bob)
			if err != nil || got.version != test.version || !cmp.Equal(got.summary(), test.want) {
				t.Errorf("got %q, version %d, %v", got.summary(), got.version, err)
			}
		})
	}
	for _, in := range []string{``, `{}`, `{"user_id":"@x:there","devices":[]}`, `{"user_id":"@bob:there","stream_id":1}`,
		`{"user_id":"@bob:there","devices":[` + strings.Repeat(`{},`, maxRemoteDevices) + `{}]}`} {
		if _, err := parseUserDevices(json.RawMessage(in), bob); err == nil {
			t.Errorf("%.80q was read", in)
		}
	}
}

func TestListUpdateFrom(t *testing.T) {
	device := string(deviceObject(bob, "B", "x"))
	for name, test := range map[string]struct {
		in   string
		code merr.Code
	}{
		"an update":                {`{"user_id":"@bob:there","device_id":"B","stream_id":2,"prev_id":[1],"keys":` + device + `}`, ""},
		"without predecessors":     {`{"user_id":"@bob:there","device_id":"B","stream_id":2}`, ""},
		"a deletion":               {`{"user_id":"@bob:there","device_id":"B","stream_id":2,"deleted":true,"keys":{}}`, ""},
		"a strange name":           {`{"user_id":"@bob:there","device_id":"B","stream_id":2,"device_display_name":[]}`, ""},
		"strange predecessors":     {`{"user_id":"@bob:there","device_id":"B","stream_id":2,"prev_id":["x"]}`, merr.BadJSON},
		"of another server's user": {`{"user_id":"@bob:here","device_id":"B","stream_id":2}`, merr.Forbidden},
		"of nobody":                {`{"device_id":"B","stream_id":2}`, merr.InvalidParam},
		"of no device":             {`{"user_id":"@bob:there","stream_id":2}`, merr.InvalidParam},
		"without a stream_id":      {`{"user_id":"@bob:there","device_id":"B"}`, merr.InvalidParam},
		"a fraction":               {`{"user_id":"@bob:there","device_id":"B","stream_id":1.5}`, merr.InvalidParam},
		"a text":                   {`{"user_id":"@bob:there","device_id":"B","stream_id":"x"}`, merr.BadJSON},
		"keys of another device":   {`{"user_id":"@bob:there","device_id":"C","stream_id":2,"keys":` + device + `}`, merr.InvalidParam},
		"keys that are none":       {`{"user_id":"@bob:there","device_id":"B","stream_id":2,"keys":[]}`, merr.BadJSON},
		"a list":                   {`[]`, merr.BadJSON},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := listUpdateFrom("there", json.RawMessage(test.in))
			if test.code == "" && err != nil || test.code != "" && !merr.HasCode(err, test.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestContinues(t *testing.T) {
	for name, test := range map[string]struct {
		prev    []int64
		version int64
		want    bool
	}{
		"the next one":                       {[]int64{4}, 4, true},
		"a gap":                              {[]int64{5}, 4, false},
		"one of two is missing":              {[]int64{4, 5}, 4, false},
		"the first of a sequence":            {nil, 4, false},
		"a list of an unknown version":       {[]int64{4}, 0, false},
		"no number after an unknown version": {[]int64{0}, 0, false},
	} {
		if got := continues(test.prev, test.version); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzUpdates feeds the parsers of what other servers send without being asked.
func FuzzUpdates(f *testing.F) {
	f.Add([]byte(`{"user_id":"@bob:there","device_id":"B","stream_id":2,"prev_id":[1],"device_display_name":"\u0000x","keys":` +
		string(deviceObject(bob, "B", "x")) + `}`))
	f.Add([]byte(`{"user_id":"@bob:there","device_id":"B","stream_id":-9223372036854775808,"deleted":true}`))
	f.Add([]byte(`{"sender":"@bob:there","type":"m.t","message_id":"i","messages":{"@a:here":{"A":{},"*":{"\ud800":1}}}}`))
	keys := newCrossSigner(bob, 1)
	if master, err := json.Marshal(keys.object(storage.MasterKey, keys.master)); err == nil {
		f.Add([]byte(`{"user_id":"@bob:there","master_key":` + string(master) + `}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if u, err := listUpdateFrom("there", raw); err == nil {
			if u.user.Server() != "there" || u.stream == 0 || len(u.prev) > 2 {
				t.Errorf("accepted %+v", u)
			}
			if u.keys != nil && (!json.Valid(u.keys.Keys) || !json.Valid(u.keys.Signatures) || bytes.ContainsRune(u.keys.Keys, 0)) {
				t.Errorf("accepted %s with %s", u.keys.Keys, u.keys.Signatures)
			}
		}
		if user, keys, err := signingUpdateFrom("there", raw); err == nil {
			for _, k := range keys {
				if k.User != user || publicKey(k.PublicKey) == nil || !json.Valid(k.Keys) {
					t.Errorf("accepted %+v", k)
				}
			}
		}
		if m, err := directMessageFrom("there", raw); err == nil {
			if m.Sender.Server() != "there" || !goodName(m.Type) || !goodName(m.ID) {
				t.Errorf("accepted %+v", m)
			}
		}
	})
}

// FuzzAnswers feeds the parsers of what other servers answer.
func FuzzAnswers(f *testing.F) {
	device := string(deviceObject(bob, "B", "x"))
	f.Add([]byte(`{"device_keys":{"@bob:there":{"B":` + device + `}},"master_keys":{"@bob:there":{}}}`))
	f.Add([]byte(`{"user_id":"@bob:there","stream_id":3,"devices":[{"device_id":"B","keys":` + device + `}]}`))
	f.Add([]byte(`{"one_time_keys":{"@bob:there":{"B":{"alg:1":{"key":"x"}}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		check := func(k *userKeys) {
			if k == nil {
				return
			}
			for _, d := range k.devices {
				if d.User != bob || !json.Valid(d.Keys) || !json.Valid(d.Signatures) || d.DisplayName != nil && strings.Contains(*d.DisplayName, "\x00") {
					t.Errorf("accepted %+v", d)
				}
			}
		}
		if got, err := parseKeyAnswer(raw, []id.UserID{bob}); err == nil {
			check(got[bob])
		}
		if got, err := parseUserDevices(raw, bob); err == nil {
			check(got)
		}
		got, err := parseClaimed(raw, []wish{{bob, "B", "alg"}})
		if err == nil && got[0].ID != "" && (got[0].Algorithm != "alg" || !json.Valid(got[0].Key)) {
			t.Errorf("accepted %+v", got[0])
		}
	})
}
