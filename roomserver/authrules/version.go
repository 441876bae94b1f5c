package authrules

import "github.com/matrix-org/gomatrixserverlib"

// What a gomatrixserverlib.IRoomVersion does not say of itself follows from how it behaves: several rules came with the same version.

// aliasesAreOrdinary says that m.room.aliases has no rule of its own any more, as since room version 6 (MSC2432), in which numbers became
// integers of at most 53 bits (MSC2540).
func aliasesAreOrdinary(version gomatrixserverlib.IRoomVersion) bool {
	return version.CheckCanonicalJSON([]byte(`[9007199254740992]`)) != nil
}

// notificationsAreLevels says that the rules guard the levels for notifications, as since room version 6 (MSC2209).
func notificationsAreLevels(version gomatrixserverlib.IRoomVersion) bool {
	return aliasesAreOrdinary(version)
}

// knowsKnock says that users may knock, as since room version 7 (MSC2403).
func knowsKnock(version gomatrixserverlib.IRoomVersion) bool {
	return version.CheckKnockingAllowed("", "@a:a", "@a:a", "knock", "leave") == nil
}

// knowsRestricted says that restricted is a join rule, as since room version 8 (MSC3083).
func knowsRestricted(version gomatrixserverlib.IRoomVersion) bool {
	return version.CheckRestrictedJoinsAllowed() == nil
}

// levelsAreIntegers says that power levels are nothing but integers, as since room version 10 (MSC3667).
func levelsAreIntegers(version gomatrixserverlib.IRoomVersion) bool {
	var levels gomatrixserverlib.PowerLevelContent
	return version.ParsePowerLevels([]byte(`{"ban":"50"}`), &levels) != nil
}

// knowsKnockRestricted says that knock_restricted is a join rule, as since room version 10 (MSC3787).
func knowsKnockRestricted(version gomatrixserverlib.IRoomVersion) bool {
	return levelsAreIntegers(version)
}

// redactionsAreJudged says that the rules look at whose event a redaction redacts, as up to room version 2: since version 3 ids do not name
// servers.
func redactionsAreJudged(version gomatrixserverlib.IRoomVersion) bool {
	return version.EventIDFormat() == gomatrixserverlib.EventIDFormatV1
}
