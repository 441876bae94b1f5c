package identity

import (
	"strings"

	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
)

// Threepid is an address outside Matrix.
type Threepid struct {
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// maxPhone is the most digits of a telephone number, with its country.
//
// Spec: appendices#pstn-phone-numbers
const maxPhone = 15

// ParseThreepid gives an address the one form in which it is hashed and stored. Errors: M_MISSING_PARAM, M_INVALID_PARAM.
//
// Spec: appendices#3pid-types
func ParseThreepid(medium, address string) (Threepid, error) {
	if medium == "" || address == "" {
		return Threepid{}, merr.New(merr.MissingParam, "medium and address are needed")
	}
	switch medium {
	case "email":
		address, err := mail.ParseAddress(address)
		if err != nil {
			return Threepid{}, errAddress
		}
		return Threepid{Medium: medium, Address: address}, nil
	case "msisdn":
		if len(address) > maxPhone || strings.Trim(address, "0123456789") != "" {
			return Threepid{}, errAddress
		}
		return Threepid{Medium: medium, Address: address}, nil
	}
	return Threepid{}, merr.New(merr.InvalidParam, "The medium must be email or msisdn")
}

var errAddress = merr.New(merr.InvalidParam, "The address is none")
