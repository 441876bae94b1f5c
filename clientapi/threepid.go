package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) threepidRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/account/3pid", web.User, web.RateNone, a.threepids},
		{"POST", "/_matrix/client/v3/account/3pid", web.User, web.RateLogin, a.addThreepid},
		{"POST", "/_matrix/client/v3/account/3pid/add", web.User, web.RateLogin, a.addThreepid},
		{"POST", "/_matrix/client/v3/account/3pid/delete", web.User, web.RateWrite, a.deleteThreepid},
		{"POST", "/_matrix/client/v3/register/email/requestToken", web.None, web.RateRegister, a.emailFor(mail.Register)},
		{"POST", "/_matrix/client/v3/account/password/email/requestToken", web.None, web.RateRegister, a.emailFor(mail.Reset)},
		{"POST", "/_matrix/client/v3/account/3pid/email/requestToken", web.User, web.RateRegister, a.emailFor(mail.Add)},
		{"POST", "/_matrix/client/v3/register/msisdn/requestToken", web.None, web.RateRegister, noPhones},
		{"POST", "/_matrix/client/v3/account/password/msisdn/requestToken", web.None, web.RateRegister, noPhones},
		{"POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken", web.User, web.RateRegister, noPhones},
	}
}

// Spec: client-server-api#get_matrixclientv3account3pid
func (a *API) threepids(ctx context.Context, r *web.Request) (any, error) {
	type threepid struct {
		Medium      string `json:"medium"`
		Address     string `json:"address"`
		ValidatedAt int64  `json:"validated_at"`
		AddedAt     int64  `json:"added_at"`
	}
	rows, err := a.accounts.Threepids(ctx, r.Caller.User)
	out := make([]threepid, len(rows))
	for i, row := range rows {
		out[i] = threepid{row.Medium, row.Address, row.ValidatedTS, row.AddedTS}
	}
	return struct {
		Threepids []threepid `json:"threepids"`
	}{out}, err
}

// addThreepid serves the deprecated endpoint too, where the specification asks for no confirmation: whoever has got hold of an access token
// could add an address of their own there, and have the password reset.
//
// Spec: client-server-api#post_matrixclientv3account3pidadd
func (a *API) addThreepid(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	return interactive(nil, a.accounts.AddThreepid(ctx, operation(r, body)))
}

// Spec: client-server-api#post_matrixclientv3account3piddelete
func (a *API) deleteThreepid(ctx context.Context, r *web.Request) (any, error) {
	var body boundThreepid
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	server, err := body.server()
	if err != nil {
		return nil, err
	}
	unbound, err := a.accounts.DeleteThreepid(ctx, r.Caller.User, body.Medium, body.Address, server)
	return unbindAnswer(unbound), err
}

// emailFor sends the letter that confirms an address for a purpose.
//
// Spec: client-server-api#post_matrixclientv3registeremailrequesttoken
func (a *API) emailFor(purpose mail.Purpose) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		body, err := r.Object()
		if err != nil {
			return nil, err
		}
		asked, err := a.accounts.ParseEmailRequest(body)
		if err != nil {
			return nil, err
		}
		if err := r.SpendFrom(web.RateEmail, "letters"); err != nil {
			return nil, err
		}
		// However many networks they come from, nobody gets many letters. Who asks for those of one purpose keeps nobody from those of another.
		if err := r.Spend(web.RateEmailAddress, "email:"+string(purpose)+":"+asked.Address); err != nil {
			return nil, err
		}
		user := id.UserID("")
		if purpose == mail.Add {
			user = r.Caller.User
		}
		sid, err := a.accounts.RequestEmail(ctx, purpose, user, asked)
		return struct {
			SID string `json:"sid"`
		}{sid}, err
	}
}

// Spec: client-server-api#post_matrixclientv3account3pidmsisdnrequesttoken
func noPhones(context.Context, *web.Request) (any, error) { return nil, account.ErrNoPhones }
