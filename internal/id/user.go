package id

import (
	"errors"
	"strings"
)

// UserID is a user id, @localpart:domain.
type UserID string

// ParseUserID accepts every user id that exists out there, with the historical grammar: any code points but colon and NUL in the
// localpart, which may even be empty.
//
// Spec: appendices#historical-user-ids
func ParseUserID(s string) (UserID, error) {
	if err := checkDomain(s, '@'); err != nil {
		return "", bad("user id", err)
	}
	return UserID(s), nil
}

// NewUserID makes the id of a new user of ours. It refuses what the strict grammar refuses.
func NewUserID(localpart string, server ServerName) (UserID, error) {
	if !ValidNewLocalpart(localpart) {
		return "", bad("user id", errors.New("a name may contain only a-z, 0-9 and ._=-/+ and must not be empty"))
	}
	return ParseUserID("@" + localpart + ":" + string(server))
}

// ValidNewLocalpart reports whether a new user may have this localpart. The length is limited through the whole id: see NewUserID.
//
// Spec: appendices#user-identifiers
func ValidNewLocalpart(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._=-/+", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Compliant reports whether the localpart is not empty and within U+0021 to U+007E. Other ids occur in events, but are not to be
// forwarded to clients outside of them.
//
// Spec: appendices#historical-user-ids
func (u UserID) Compliant() bool {
	l := u.Localpart()
	for i := 0; i < len(l); i++ {
		if l[i] < 0x21 || l[i] > 0x7e {
			return false
		}
	}
	return l != ""
}

// Localpart is what stands between the sigil and the first colon.
func (u UserID) Localpart() string { return local(string(u)) }

// Server is the server that the user belongs to.
func (u UserID) Server() ServerName { return domain(string(u)) }

// String returns the id.
func (u UserID) String() string { return string(u) }

// DeviceID names a device of a user. It is an opaque string, chosen by clients or the server.
type DeviceID string

// maxDeviceID bounds device ids, for which the specification has no limit, to what fits an index.
const maxDeviceID = 255

// ParseDeviceID accepts any legal text that is not empty and not longer than 255 bytes.
func ParseDeviceID(s string) (DeviceID, error) {
	switch {
	case s == "":
		return "", bad("device id", errors.New("it is empty"))
	case len(s) > maxDeviceID:
		return "", bad("device id", errTooLong)
	case !legalText(s):
		return "", bad("device id", errors.New("it is not UTF-8 or contains NUL"))
	}
	return DeviceID(s), nil
}

// String returns the id.
func (d DeviceID) String() string { return string(d) }
