package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) pushRuleRoutes() []web.Route {
	const (
		all   = "/_matrix/client/v3/pushrules"
		scope = all + "/global"
		kind  = scope + "/{kind}"
		rule  = kind + "/{ruleID}"
		write = web.User | web.WhileSuspended
	)
	return []web.Route{
		{"GET", all + "/", web.User, web.RateNone, a.allPushRules},
		{"GET", all, web.User, web.RateNone, a.allPushRules},
		{"GET", scope + "/", web.User, web.RateNone, a.globalPushRules},
		{"GET", scope, web.User, web.RateNone, a.globalPushRules},
		{"GET", kind + "/", web.User, web.RateNone, a.pushRulesOfKind},
		{"GET", kind, web.User, web.RateNone, a.pushRulesOfKind},
		{"GET", rule, web.User, web.RateNone, a.pushRule},
		{"PUT", rule, write, web.RateWrite, a.putPushRule},
		{"DELETE", rule, write, web.RateWrite, a.deletePushRule},
		{"GET", rule + "/enabled", web.User, web.RateNone, a.pushRuleEnabled},
		{"PUT", rule + "/enabled", write, web.RateWrite, a.editPushRule((*push.Book).SetEnabled)},
		{"GET", rule + "/actions", web.User, web.RateNone, a.pushRuleActions},
		{"PUT", rule + "/actions", write, web.RateWrite, a.editPushRule((*push.Book).SetActions)},
	}
}

// Spec: client-server-api#get_matrixclientv3pushrules
func (a *API) allPushRules(ctx context.Context, r *web.Request) (any, error) {
	rules, err := a.accounts.PushRules(ctx, r.Caller.User)
	return push.Rules{Global: rules}, err
}

// Spec: client-server-api#get_matrixclientv3pushrulesglobal
func (a *API) globalPushRules(ctx context.Context, r *web.Request) (any, error) {
	return a.accounts.PushRules(ctx, r.Caller.User)
}

// pushRulesOfKind is not in the specification any more; clients of old releases ask for it.
func (a *API) pushRulesOfKind(ctx context.Context, r *web.Request) (any, error) {
	rules, err := a.accounts.PushRules(ctx, r.Caller.User)
	if err != nil {
		return nil, err
	}
	return rules.Kind(push.Kind(r.Var("kind")))
}

// namedPushRule returns the rule of the path.
func (a *API) namedPushRule(ctx context.Context, r *web.Request) (push.Rule, error) {
	rules, err := a.accounts.PushRules(ctx, r.Caller.User)
	if err != nil {
		return push.Rule{}, err
	}
	return rules.Rule(push.Kind(r.Var("kind")), r.Var("ruleID"))
}

// Spec: client-server-api#get_matrixclientv3pushrulesglobalkindruleid
func (a *API) pushRule(ctx context.Context, r *web.Request) (any, error) {
	return a.namedPushRule(ctx, r)
}

// Spec: client-server-api#get_matrixclientv3pushrulesglobalkindruleidenabled
func (a *API) pushRuleEnabled(ctx context.Context, r *web.Request) (any, error) {
	rule, err := a.namedPushRule(ctx, r)
	return struct {
		Enabled bool `json:"enabled"`
	}{rule.Enabled}, err
}

// Spec: client-server-api#get_matrixclientv3pushrulesglobalkindruleidactions
func (a *API) pushRuleActions(ctx context.Context, r *web.Request) (any, error) {
	rule, err := a.namedPushRule(ctx, r)
	return struct {
		Actions []json.RawMessage `json:"actions"`
	}{rule.Actions}, err
}

// Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleid
func (a *API) putPushRule(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	before, after := r.Query().Get("before"), r.Query().Get("after")
	return nil, a.accounts.EditPushRules(ctx, r.Caller.User, func(b *push.Book, s push.Stored) (push.Stored, error) {
		return b.Put(s, push.Kind(r.Var("kind")), r.Var("ruleID"), before, after, body)
	})
}

// Spec: client-server-api#delete_matrixclientv3pushrulesglobalkindruleid
func (a *API) deletePushRule(ctx context.Context, r *web.Request) (any, error) {
	return nil, a.accounts.EditPushRules(ctx, r.Caller.User, func(b *push.Book, s push.Stored) (push.Stored, error) {
		return b.Delete(s, push.Kind(r.Var("kind")), r.Var("ruleID"))
	})
}

// editPushRule changes whether a rule is enabled, or its actions.
//
// Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleidenabled
func (a *API) editPushRule(edit func(b *push.Book, s push.Stored, k push.Kind, ruleID string, body []byte) (push.Stored, error)) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		body, err := r.Object()
		if err != nil {
			return nil, err
		}
		return nil, a.accounts.EditPushRules(ctx, r.Caller.User, func(b *push.Book, s push.Stored) (push.Stored, error) {
			return edit(b, s, push.Kind(r.Var("kind")), r.Var("ruleID"), body)
		})
	}
}
