package fedtypes

import (
	"encoding/json"
	"errors"
)

// maxListed is how many elements a list of an answer may have: more than the state of any room, with the events that allowed it.
const maxListed = 300_000

var errTooLong = errors.New("a list has too many elements")

// A List is a list in an answer of another server. It is counted before it is read, since an empty element takes ten times as much memory as
// space in the answer.
type List[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *List[T]) UnmarshalJSON(text []byte) error {
	if Elements(text) > maxListed {
		return errTooLong
	}
	return json.Unmarshal(text, (*[]T)(l))
}

// Elements is the number of elements of a JSON array, which it does not read: on what is none it may say anything. For an empty one it says 1.
func Elements(array []byte) int {
	n, depth := 1, 0
	for i := 0; i < len(array); i++ {
		switch array[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 1 {
				n++
			}
		case '"':
			for i++; i < len(array) && array[i] != '"'; i++ {
				if array[i] == '\\' {
					i++
				}
			}
		}
	}
	return n
}
