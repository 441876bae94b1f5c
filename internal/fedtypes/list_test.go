package fedtypes

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestElementsAreCountedWithoutBeingRead(t *testing.T) {
	for text, want := range map[string]int{
		`[]`: 1, `[1]`: 1, `[1,2]`: 2, `[{"a":[1,2,3],"b":1},"x"]`: 2, `[",",",\",",[","]]`: 3, ``: 1, `"`: 1, `["\`: 1,
	} {
		if got := Elements([]byte(text)); got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

func TestListsThatWouldFillTheMemoryAreNotRead(t *testing.T) {
	var answer struct {
		State List[json.RawMessage] `json:"state"`
	}
	if err := json.Unmarshal([]byte(`{"state":[{"a":1},2,null]}`), &answer); err != nil || len(answer.State) != 3 || string(answer.State[0]) != `{"a":1}` {
		t.Errorf("%s, %v", answer.State, err)
	}
	if err := json.Unmarshal([]byte(`{"state":null}`), &answer); err != nil || answer.State != nil {
		t.Errorf("%s, %v", answer.State, err)
	}
	many := `{"state":[` + strings.Repeat("0,", maxListed) + `0]}`
	if err := json.Unmarshal([]byte(many), &answer); !errors.Is(err, errTooLong) {
		t.Errorf("%d elements, %v", len(answer.State), err)
	}
}

func FuzzElements(f *testing.F) {
	f.Add([]byte(`[1,{"a":",]"},[[]],"\\"]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := Elements(text)
		var list []json.RawMessage
		if json.Unmarshal(text, &list) == nil && list != nil && max(len(list), 1) != n {
			t.Errorf("%q has %d elements, not %d", text, len(list), n)
		}
	})
}
