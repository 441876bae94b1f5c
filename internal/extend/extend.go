// Package extend makes lists longer that others go on reading as they are, without copying them. It refuses to change what somebody can see.
package extend

import "slices"

// With is a list with one more element, which is not the zero value, at its end. It shares the array of the list if the place there is free, and
// takes it: of two lists that are made from the same one, the second is a copy. Lists of one array are to be extended by one goroutine at a time;
// they may be read meanwhile.
func With[T comparable](list []T, v T) []T {
	var free T
	n := len(list)
	if n < cap(list) && list[:n+1][n] == free {
		list = list[:n+1]
		list[n] = v
		return list
	}
	return append(slices.Clip(list), v)
}
