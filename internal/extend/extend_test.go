package extend

import (
	"fmt"
	"slices"
	"testing"
	"testing/quick"
)

// Every list is extended now and then, and none of them may ever look different.
func TestListsStayAsTheyAre(t *testing.T) {
	holds := func(steps []uint16) bool {
		lists, want := [][]string{nil}, [][]string{nil}
		for i, step := range steps {
			from := int(step) % len(lists)
			v := fmt.Sprint(i)
			lists = append(lists, With(lists[from], v))
			want = append(want, append(slices.Clone(want[from]), v))
		}
		return slices.EqualFunc(lists, want, slices.Equal[[]string])
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestAListThatGrowsIsNotCopiedEachTime(t *testing.T) {
	var list []int
	copies := 0
	for i := range 10_000 {
		longer := With(list, i+1)
		if i > 0 && &longer[0] != &list[0] {
			copies++
		}
		list = longer
	}
	if copies > 60 {
		t.Errorf("copied %d times", copies)
	}
}
