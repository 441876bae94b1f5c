package merr

import "net/http"

// Code is an errcode, the part of an error that programs look at.
type Code string

// The codes that any endpoint may give.
//
// Spec: client-server-api#common-error-codes
const (
	BadJSON               Code = "M_BAD_JSON"
	Forbidden             Code = "M_FORBIDDEN"
	LimitExceeded         Code = "M_LIMIT_EXCEEDED"
	MissingToken          Code = "M_MISSING_TOKEN"
	NotFound              Code = "M_NOT_FOUND"
	NotJSON               Code = "M_NOT_JSON"
	ResourceLimitExceeded Code = "M_RESOURCE_LIMIT_EXCEEDED"
	Unknown               Code = "M_UNKNOWN"
	UnknownDevice         Code = "M_UNKNOWN_DEVICE"
	UnknownToken          Code = "M_UNKNOWN_TOKEN"
	Unrecognized          Code = "M_UNRECOGNIZED"
	UserLimitExceeded     Code = "M_USER_LIMIT_EXCEEDED"
	UserLocked            Code = "M_USER_LOCKED"
	UserSuspended         Code = "M_USER_SUSPENDED"
)

// The codes of particular endpoints of the Client-Server API.
//
// Spec: client-server-api#other-error-codes
const (
	AppserviceLoginUnsupported  Code = "M_APPSERVICE_LOGIN_UNSUPPORTED"
	BadAlias                    Code = "M_BAD_ALIAS"
	BadState                    Code = "M_BAD_STATE"
	BadStatus                   Code = "M_BAD_STATUS"
	CannotLeaveServerNoticeRoom Code = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
	CannotOverwriteMedia        Code = "M_CANNOT_OVERWRITE_MEDIA"
	CaptchaInvalid              Code = "M_CAPTCHA_INVALID"
	CaptchaNeeded               Code = "M_CAPTCHA_NEEDED"
	ConnectionFailed            Code = "M_CONNECTION_FAILED"
	ConnectionTimeout           Code = "M_CONNECTION_TIMEOUT"
	DuplicateAnnotation         Code = "M_DUPLICATE_ANNOTATION"
	Exclusive                   Code = "M_EXCLUSIVE"
	GuestAccessForbidden        Code = "M_GUEST_ACCESS_FORBIDDEN"
	IncompatibleRoomVersion     Code = "M_INCOMPATIBLE_ROOM_VERSION"
	InvalidParam                Code = "M_INVALID_PARAM"
	InvalidRoomState            Code = "M_INVALID_ROOM_STATE"
	InvalidSignature            Code = "M_INVALID_SIGNATURE"
	InvalidUsername             Code = "M_INVALID_USERNAME"
	InviteBlocked               Code = "M_INVITE_BLOCKED"
	KeyTooLarge                 Code = "M_KEY_TOO_LARGE"
	MissingParam                Code = "M_MISSING_PARAM"
	NotYetUploaded              Code = "M_NOT_YET_UPLOADED"
	ProfileTooLarge             Code = "M_PROFILE_TOO_LARGE"
	RoomInUse                   Code = "M_ROOM_IN_USE"
	ServerNotTrusted            Code = "M_SERVER_NOT_TRUSTED"
	ThreepidAuthFailed          Code = "M_THREEPID_AUTH_FAILED"
	ThreepidDenied              Code = "M_THREEPID_DENIED"
	ThreepidInUse               Code = "M_THREEPID_IN_USE"
	ThreepidMediumNotSupported  Code = "M_THREEPID_MEDIUM_NOT_SUPPORTED"
	ThreepidNotFound            Code = "M_THREEPID_NOT_FOUND"
	TokenIncorrect              Code = "M_TOKEN_INCORRECT"
	TooLarge                    Code = "M_TOO_LARGE"
	URLNotSet                   Code = "M_URL_NOT_SET"
	Unauthorized                Code = "M_UNAUTHORIZED"
	UnsupportedRoomVersion      Code = "M_UNSUPPORTED_ROOM_VERSION"
	UserDeactivated             Code = "M_USER_DEACTIVATED"
	UserInUse                   Code = "M_USER_IN_USE"
	WeakPassword                Code = "M_WEAK_PASSWORD"
	WrongRoomKeysVersion        Code = "M_WRONG_ROOM_KEYS_VERSION"
)

// The codes of the Server-Server API that the Client-Server API does not have.
const (
	UnableToAuthoriseJoin Code = "M_UNABLE_TO_AUTHORISE_JOIN"
	UnableToGrantJoin     Code = "M_UNABLE_TO_GRANT_JOIN"
)

// The codes of the Identity Service API. A homeserver gives them for the requests it answers in its stead: validation of addresses.
const (
	DestinationRejected Code = "M_DESTINATION_REJECTED"
	EmailSendError      Code = "M_EMAIL_SEND_ERROR"
	InvalidAddress      Code = "M_INVALID_ADDRESS"
	InvalidEmail        Code = "M_INVALID_EMAIL"
	InvalidPepper       Code = "M_INVALID_PEPPER"
	MissingParams       Code = "M_MISSING_PARAMS"
	NoValidSession      Code = "M_NO_VALID_SESSION"
	SendError           Code = "M_SEND_ERROR"
	SessionExpired      Code = "M_SESSION_EXPIRED"
	SessionNotValidated Code = "M_SESSION_NOT_VALIDATED"
	TermsNotSigned      Code = "M_TERMS_NOT_SIGNED"
)

// The codes outside the released specification that clients in wide use know.
const (
	UnknownPos       Code = "M_UNKNOWN_POS"        // sliding sync: the connection's position expired (MSC4186)
	EventNotFound    Code = "M_EVENT_NOT_FOUND"    // relations to an event that is not there
	MaxDelayExceeded Code = "M_MAX_DELAY_EXCEEDED" // delayed events (MSC4140)

	// Subscriptions to threads (MSC4306), under the names that they have until it is accepted.
	NotInThread               Code = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
	ConflictingUnsubscription Code = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
)

// Status returns the HTTP status that usually goes with the code, 400 for the many that only say that the request was wrong.
func (c Code) Status() int {
	switch c {
	case Unknown:
		return http.StatusInternalServerError
	case MissingToken, UnknownToken, UserLocked, Unauthorized, TermsNotSigned:
		return http.StatusUnauthorized
	case Forbidden, UserSuspended, UserDeactivated, GuestAccessForbidden, ThreepidDenied, ThreepidAuthFailed, InviteBlocked, ResourceLimitExceeded,
		CannotLeaveServerNoticeRoom, UserLimitExceeded, WrongRoomKeysVersion, BadState:
		return http.StatusForbidden
	case NotFound, Unrecognized, EventNotFound:
		return http.StatusNotFound
	case CannotOverwriteMedia:
		return http.StatusConflict
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case LimitExceeded:
		return http.StatusTooManyRequests
	case BadStatus, ConnectionFailed:
		return http.StatusBadGateway
	case NotYetUploaded, ConnectionTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadRequest
}
