package canonjson

import (
	"strings"
	"testing"
)

func TestDeeper(t *testing.T) {
	tests := []struct {
		name, raw string
		want      bool
	}{
		{"as deep as it may be", `[{"a":[]},[[]]]`, false},
		{"deeper", `[{"a":[[]]}]`, true},
		{"brackets in a text", `["[[[[\"[[[["]`, false},
		{"no JSON", strings.Repeat("[", 4), true},
		{"half a text", `["\`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Deeper([]byte(tt.raw), 3); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
