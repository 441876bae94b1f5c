package directory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxCandidates bounds the users that one search looks at.
const maxCandidates = 10000

// People finds users by words that their ids and display names have in them, at most limit of them, the best first. It considers those who
// share a room with the viewer and those in rooms that are open to everybody. limited says that there are more.
//
// Spec: client-server-api#post_matrixclientv3user_directorysearch
func People(tx *storage.ReadTx, viewer id.UserID, term string, limit int) (found []storage.Person, limited bool, err error) {
	words := strings.Fields(strings.ToLower(term))
	if len(words) == 0 {
		return nil, false, nil
	}
	longest := slices.MaxFunc(words, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	local, err := tx.LocalPeople(longest, maxCandidates)
	if err != nil {
		return nil, false, err
	}
	local = slices.DeleteFunc(local, func(p storage.Person) bool { return p.ID == viewer || !matches(p, words) })
	ids := make([]id.UserID, len(local))
	for i, p := range local {
		ids[i] = p.ID
	}
	met, err := tx.Meets(viewer, ids)
	if err != nil {
		return nil, false, err
	}
	local = slices.DeleteFunc(local, func(p storage.Person) bool { return !met[p.ID] })
	remote, err := tx.RemotePeople(viewer, longest, maxCandidates)
	if err != nil {
		return nil, false, err
	}
	remote = slices.DeleteFunc(remote, func(p storage.Person) bool { return !matches(p, words) })
	found = append(local, remote...)
	whole := strings.Join(words, " ")
	slices.SortStableFunc(found, func(a, b storage.Person) int {
		return cmp.Or(cmp.Compare(rank(a, whole), rank(b, whole)), cmp.Compare(bare(a), bare(b)), cmp.Compare(a.ID, b.ID))
	})
	return found[:min(limit, len(found))], len(found) > limit, nil
}

func matches(p storage.Person, words []string) bool {
	text := strings.ToLower(string(p.ID) + " " + p.DisplayName)
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// rank says how well somebody fits: 0 if the term is the name or id, 1 if those begin with it, 2 otherwise.
func rank(p storage.Person, term string) int {
	best := 2
	for _, text := range []string{string(p.ID), string(p.ID)[1:], p.ID.Localpart(), p.DisplayName} {
		if rest, ok := strings.CutPrefix(strings.ToLower(text), term); ok {
			if rest == "" {
				return 0
			}
			best = 1
		}
	}
	return best
}

// bare is 1 for users who say nothing about themselves, who come last among equals.
func bare(p storage.Person) int {
	if p.DisplayName == "" && p.AvatarURL == "" {
		return 1
	}
	return 0
}
