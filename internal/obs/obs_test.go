package obs

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	tests := map[string]struct {
		options LogOptions
		want    []string
		not     []string
	}{
		"JSON where there is no terminal": {LogOptions{}, []string{`"level":"INFO","msg":"i"`}, []string{`"msg":"d"`}},
		"text when asked for":             {LogOptions{Format: "text"}, []string{"level=INFO msg=i"}, []string{"msg=d"}},
		"JSON when asked for":             {LogOptions{Format: "json", Level: "debug"}, []string{`"msg":"d"`, `"msg":"i"`}, nil},
		"only errors":                     {LogOptions{Format: "text", Level: "error"}, []string{"msg=e"}, []string{"msg=i", "msg=d"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := NewLogger(&out, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("d")
			log.Info("i")
			log.Error("e")
			for _, s := range tt.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%s is missing in %s", s, &out)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("%s is in %s", s, &out)
				}
			}
		})
	}
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, o := range []LogOptions{{Level: "loud"}, {Format: "xml"}} {
		if _, err := NewLogger(&bytes.Buffer{}, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestMetrics(t *testing.T) {
	a, b := NewRegistry(), NewRegistry() // two, as in a test with two servers
	if a == b {
		t.Fatal("the registry is shared")
	}
	w := httptest.NewRecorder()
	MetricsHandler(a).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("got %d %.200s", w.Code, w.Body)
	}
}
