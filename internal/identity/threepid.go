package identity

import (
	"net/mail"
	"strings"

	"github.com/hearthd/hearth/internal/merr"
)

// Threepid is an address outside Matrix.
type Threepid struct {
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// maxAddress is the length of an address, in bytes.
const maxAddress = 500

// ParseThreepid gives an address the one form in which it is hashed and stored. Errors: M_MISSING_PARAM, M_INVALID_PARAM.
//
// Spec: appendices#3pid-types
func ParseThreepid(medium, address string) (Threepid, error) {
	bad := func() (Threepid, error) {
		return Threepid{}, merr.New(merr.InvalidParam, "The address is none")
	}
	if medium == "" || address == "" {
		return Threepid{}, merr.New(merr.MissingParam, "medium and address are needed")
	}
	if len(address) > maxAddress {
		return bad()
	}
	switch medium {
	case "email":
		parsed, err := mail.ParseAddress(address)
		if err != nil || parsed.Address != address {
			return bad()
		}
		return Threepid{Medium: medium, Address: strings.ToLower(address)}, nil
	case "msisdn":
		if strings.Trim(address, "0123456789") != "" {
			return bad()
		}
		return Threepid{Medium: medium, Address: address}, nil
	}
	return Threepid{}, merr.New(merr.InvalidParam, "The medium must be email or msisdn")
}
