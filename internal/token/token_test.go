package token

import (
	"testing"

	"github.com/hearthd/hearth/internal/merr"
)

func TestParseSync(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       Sync
		bad        bool
	}{
		{"both numbers", "s12_34", Sync{12, 34}, false},
		{"zero", "s0_0", Sync{}, false},
		{"nothing", "", Sync{}, true},
		{"a token of another server", "s72594_4483_1934", Sync{}, true},
		{"another kind", "t12", Sync{}, true},
		{"no second number", "s12", Sync{}, true},
		{"negative", "s-1_0", Sync{}, true},
		{"too large", "s99999999999999999999_0", Sync{}, true},
		{"leading zeros", "s012_0", Sync{}, true},
		{"a plus", "s+12_0", Sync{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseSync(test.text)
			if got != test.want || (err != nil) != test.bad {
				t.Errorf("%v, %v", got, err)
			}
			if test.bad && !merr.HasCode(err, merr.InvalidParam) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestParseRoom(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       Room
		bad        bool
	}{
		{"its own form", "t12", 12, false},
		{"fetched history", "t-12", -12, false},
		{"a sync token", "s12_34", 12, false},
		{"a position of sliding sync", "s12_34_5_6_7", 12, false},
		{"no number", "tx", 0, true},
		{"nothing", "", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := ParseRoom(test.text); got != test.want || (err != nil) != test.bad {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestParseSliding(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       Sliding
		bad        bool
	}{
		{"all five numbers", "s1_2_3_4_5", Sliding{Sync{1, 2}, 3, 4, 5}, false},
		{"a sync token", "s1_2", Sliding{}, true},
		{"six numbers", "s1_2_3_4_5_6", Sliding{}, true},
		{"a negative one", "s1_2_3_-4_5", Sliding{}, true},
		{"no letter", "1_2_3_4_5", Sliding{}, true},
		{"nothing", "", Sliding{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseSliding(test.text)
			if got != test.want || (err != nil) != test.bad || test.bad && !merr.HasCode(err, merr.UnknownPos) {
				t.Errorf("%v, %v", got, err)
			}
			if err == nil && got.String() != test.text {
				t.Errorf("%q became %q", test.text, got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"s12_34", "s0_0", "t-5", "t12", "s1_", "_", "s-1_2", "s1_2_3_4_5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseSync(text); err == nil && got.String() != text {
			t.Errorf("%q became %q", text, got)
		}
		if got, err := ParseSliding(text); err == nil && got.String() != text {
			t.Errorf("%q became %q", text, got)
		}
		if got, err := ParseRoom(text); err == nil && got.String() != text && text[0] != 's' {
			t.Errorf("%q became %q", text, got)
		}
	})
}
