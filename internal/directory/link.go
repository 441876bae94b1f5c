package directory

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// link is a space's child.
type link struct {
	room      id.RoomID
	via       []id.ServerName
	order     string
	ts        int64
	suggested bool
	event     json.RawMessage // as clients are shown it
}

const (
	// maxOrder is how long an order may be.
	maxOrder = 50
	// maxVia is how many servers of a child are kept.
	maxVia = 10
)

// parseLink reads the content of an m.space.child event; one without via is no link.
//
// Spec: client-server-api#mspacechild
func parseLink(stateKey string, ts int64, content gjson.Result) (link, bool) {
	room, err := id.ParseRoomID(stateKey)
	via := content.Get("via")
	if err != nil || !via.IsArray() {
		return link{}, false
	}
	l := link{room: room, ts: ts, suggested: content.Get("suggested").Type == gjson.True}
	via.ForEach(func(_, server gjson.Result) bool {
		if name, err := id.ParseServerName(server.Str); err == nil {
			l.via = append(l.via, name)
		}
		return len(l.via) < maxVia
	})
	if order := content.Get("order"); order.Type == gjson.String && len(order.Str) <= maxOrder {
		printable := !strings.ContainsFunc(order.Str, func(r rune) bool { return r < 0x20 || r > 0x7e })
		if printable {
			l.order = order.Str
		}
	}
	return l, true
}

// localLinks is the children of a space by its state.
func localLinks(events []*storage.Event) []link {
	links := make([]link, 0, len(events))
	for _, ev := range events {
		if ev == nil || ev.StateKey == nil {
			continue
		}
		l, ok := parseLink(*ev.StateKey, ev.TS, gjson.ParseBytes(ev.Content()))
		if !ok {
			continue
		}
		stripped := clientevent.AppendStripped(nil, ev)
		stripped = append(stripped[:len(stripped)-1], `,"origin_server_ts":`...)
		l.event = append(strconv.AppendInt(stripped, ev.TS, 10), '}')
		links = append(links, l)
	}
	return sorted(links)
}

// maxChildren is how many children of one space are looked at.
const maxChildren = 1000

// sorted is links in the order of the space.
func sorted(links []link) []link {
	slices.SortFunc(links, link.compare)
	return links[:min(len(links), maxChildren)]
}

// wanted is all links, or only those that the space suggests.
func wanted(links []link, suggestedOnly bool) []link {
	if !suggestedOnly {
		return links
	}
	return slices.DeleteFunc(slices.Clone(links), func(l link) bool { return !l.suggested })
}

// Spec: client-server-api#ordering-of-children-within-a-space
func (l link) compare(m link) int {
	if (l.order == "") != (m.order == "") {
		if l.order == "" {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(l.order, m.order), cmp.Compare(l.ts, m.ts), cmp.Compare(l.room, m.room))
}
