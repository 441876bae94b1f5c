package roomserver

import "github.com/matrix-org/gomatrixserverlib"

// What a gomatrixserverlib.IRoomVersion does not say of itself follows from how it behaves: several rules came with the same version.

// strictJSON says that numbers are integers of at most 53 bits, as since room version 6 (MSC2540).
func strictJSON(version gomatrixserverlib.IRoomVersion) bool {
	return version.CheckCanonicalJSON([]byte(`[9007199254740992]`)) != nil
}

// aliasesAreOrdinary says that m.room.aliases has no auth rule of its own any more, as since room version 6 (MSC2432).
func aliasesAreOrdinary(version gomatrixserverlib.IRoomVersion) bool { return strictJSON(version) }

// notificationsAreLevels says that the auth rules guard the levels for notifications, as since room version 6 (MSC2209).
func notificationsAreLevels(version gomatrixserverlib.IRoomVersion) bool { return strictJSON(version) }

// knowsKnockRestricted says that knock_restricted is a join rule, as since room version 10 (MSC3787), in which power levels became integers
// (MSC3667).
func knowsKnockRestricted(version gomatrixserverlib.IRoomVersion) bool {
	var levels gomatrixserverlib.PowerLevelContent
	return version.ParsePowerLevels([]byte(`{"ban":"50"}`), &levels) != nil
}

// redactsInContent says where a redaction names its target: in the content since room version 11, which is also the version since which the
// creator is not in the content of the create event (MSC2174, MSC2175), and since which redactions keep what was signed in third-party invites
// (MSC3821).
func redactsInContent(version gomatrixserverlib.IRoomVersion) bool {
	return !version.CreatorInCreateEvent()
}
