package fedclient

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCredentialsAreReadInEveryFormTheyMayHave(t *testing.T) {
	signature := make([]byte, ed25519.SignatureSize)
	for i := range signature {
		signature[i] = byte(i * 7)
	}
	sig := base64.RawStdEncoding.EncodeToString(signature)
	good := credentials{origin: "a.example:80", destination: "b.example", key: "ed25519:k_1", signature: signature}
	old := good
	old.destination = ""
	for _, tt := range []struct {
		name, header string
		want         credentials
		ok           bool
	}{
		{"as it should be", `X-Matrix origin="a.example:80",destination="b.example",key="ed25519:k_1",sig="` + sig + `"`, good, true},
		{"without quotes", `X-Matrix origin=a.example:80,destination=b.example,key=ed25519:k_1,sig=` + sig, good, true},
		{"with quotes here and there", `X-Matrix origin=a.example:80,destination="b.example",key=ed25519:k_1,sig="` + sig + `"`, good, true},
		{"in another order and case", `x-matrix SIG="` + sig + `",Key="ed25519:k_1",Destination="b.example",ORIGIN="a.example:80"`, good, true},
		{"with white space", "X-Matrix  \t origin=\"a.example:80\" ,\tdestination=\"b.example\"\t, key=\"ed25519:k_1\",  sig=\"" + sig + "\" ", good, true},
		{"with white space around the equals signs", `X-Matrix origin = "a.example:80",destination= b.example,key ="ed25519:k_1",sig="` + sig + `"`, good, true},
		{"with backslashes", `X-Matrix origin="a\.example:\80",destination="b.example",key="ed25519:k\_1",sig="` + sig + `"`, good, true},
		{"with a parameter that nobody knows", `X-Matrix foo="a,b=\"c",origin="a.example:80",destination="b.example",key="ed25519:k_1",sig="` + sig + `",x=`, good, true},
		{"with empty elements", `X-Matrix ,,origin="a.example:80",,destination="b.example",key="ed25519:k_1",sig="` + sig + `",`, good, true},
		{"with padding", `X-Matrix origin="a.example:80",destination="b.example",key="ed25519:k_1",sig="` + sig + `=="`, good, true},
		{"without destination", `X-Matrix origin="a.example:80",key="ed25519:k_1",sig="` + sig + `"`, old, true},

		{"nothing", ``, credentials{}, false},
		{"another scheme", `Bearer abc`, credentials{}, false},
		{"nothing but the scheme", `X-Matrix`, credentials{}, false},
		{"no parameters", `X-Matrix `, credentials{}, false},
		{"no origin", `X-Matrix destination="b.example",key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"two origins", `X-Matrix origin="a.example",origin="b.example",key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"a bad origin", `X-Matrix origin="a example",key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"an empty destination", `X-Matrix origin="a.example",destination="",key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"a key of another algorithm", `X-Matrix origin="a.example",key="rsa:k_1",sig="` + sig + `"`, credentials{}, false},
		{"a bad key", `X-Matrix origin="a.example",key="ed25519:k-1",sig="` + sig + `"`, credentials{}, false},
		{"a short signature", `X-Matrix origin="a.example",key="ed25519:k_1",sig="` + sig[:40] + `"`, credentials{}, false},
		{"no base64", `X-Matrix origin="a.example",key="ed25519:k_1",sig="` + strings.Repeat("!", 86) + `"`, credentials{}, false},
		{"an open quote", `X-Matrix origin="a.example`, credentials{}, false},
		{"a quote within", `X-Matrix origin=a"b,key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"a backslash at the end", `X-Matrix origin="a\`, credentials{}, false},
		{"no comma", `X-Matrix origin="a.example" key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"a name without value", `X-Matrix origin,key="ed25519:k_1",sig="` + sig + `"`, credentials{}, false},
		{"something endless", `X-Matrix origin="` + strings.Repeat("a", 5000) + `"`, credentials{}, false},
	} {
		got, err := parseCredentials(tt.header)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(credentials{})); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestWhatIsSignedForARequestIsCanonical(t *testing.T) {
	for _, tt := range []struct {
		content []byte
		want    string
	}{
		{nil, `{"destination":"b.example","method":"GET","origin":"a.example","uri":"/_matrix/x?a=\"b\""}`},
		{[]byte(`{"a":1}`), `{"content":{"a":1},"destination":"b.example","method":"GET","origin":"a.example","uri":"/_matrix/x?a=\"b\""}`},
	} {
		if got := string(signedRequest("GET", `/_matrix/x?a="b"`, "a.example", "b.example", tt.content)); got != tt.want {
			t.Errorf("%s", got)
		}
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add(`X-Matrix origin="a.example:80",destination="b.example",key="ed25519:k_1",sig="` + strings.Repeat("A", 86) + `"`)
	f.Add(`X-Matrix origin=a.example, key=ed25519:1 ,sig="\A` + strings.Repeat("A", 85) + `"`)
	f.Add(`x-matrix ,=,"`)
	f.Fuzz(func(t *testing.T, header string) {
		c, err := parseCredentials(header)
		if err != nil {
			return
		}
		// What was understood reads the same when it is written as it should be.
		again := `X-Matrix origin="` + string(c.origin) + `",key="` + c.key + `",sig="` + encodeBase64(c.signature) + `"`
		if c.destination != "" {
			again += `,destination="` + string(c.destination) + `"`
		}
		back, err := parseCredentials(again)
		if diff := cmp.Diff(c, back, cmp.AllowUnexported(credentials{})); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}
