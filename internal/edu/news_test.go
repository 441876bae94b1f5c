package edu

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
)

func TestNewsAreBoundedAndInOrder(t *testing.T) {
	s := New(nil, hub.New(0), nil, nil, Options{Followed: true})
	if list, last := s.NewsAfter(0, 10); len(list) != 0 || last != 0 {
		t.Errorf("%v up to %d", list, last)
	}
	room := func(n int64) id.RoomID { return id.RoomID(fmt.Sprint("!", n)) }
	read := int64(0)
	for n := int64(1); n <= 3*maxNews; n++ {
		s.report(News{Typing: room(n)})
		if n%1000 != 0 {
			continue
		}
		for read < n {
			list, last := s.NewsAfter(read, 7)
			for i, e := range list {
				if e.Typing != room(read+1+int64(i)) {
					t.Fatalf("after %d came %s", read+int64(i), e.Typing)
				}
			}
			if last != read+int64(len(list)) || len(list) == 0 || len(list) > 7 {
				t.Fatalf("after %d came %d, up to %d", read, len(list), last)
			}
			read = last
		}
	}
	if n := len(s.news.kept); n > maxNews {
		t.Errorf("%d are kept", n)
	}
	// Who has missed some gets the rest.
	list, last := s.NewsAfter(0, 1)
	if len(list) != 1 || list[0].Typing != room(last) || last < 2*maxNews-1 {
		t.Errorf("%v up to %d", list, last)
	}
	if list, last := s.NewsAfter(1<<40, 1); len(list) != 0 || last != s.LastNews() {
		t.Errorf("%v up to %d", list, last)
	}
}

func TestNewsThatNobodyFollowsAreNotKept(t *testing.T) {
	s := New(nil, hub.New(0), nil, nil, Options{})
	s.report(News{Typing: "!a"})
	if s.LastNews() != 0 {
		t.Error("they are")
	}
}
