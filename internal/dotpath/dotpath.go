// Package dotpath reads dot-separated property paths, the form in which push rules and filters name a property of an event. It refuses
// nothing: every string is a path.
package dotpath

import "strings"

// Parse splits a path into property names. A backslash makes a following dot or backslash part of the name; before anything else it is
// a backslash. The result has at least one name, and names may be empty.
//
// Spec: appendices#dot-separated-property-paths
func Parse(path string) []string {
	if strings.IndexByte(path, '\\') < 0 {
		return strings.Split(path, ".")
	}
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '.':
			names = append(names, name.String())
			name.Reset()
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		default:
			name.WriteByte(c)
		}
	}
	return append(names, name.String())
}
