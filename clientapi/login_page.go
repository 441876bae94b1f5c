package clientapi

import (
	"context"
	"net/http"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) loginPageRoutes() []web.Route {
	return []web.Route{
		{"GET", account.LoginFallbackPath, web.None, web.RateNone, a.loginFallback},
	}
}

// The script speaks to the login API as any client does. Parameters that are no credentials are passed on to it.
var loginPage = newPage(`<p id="said">Log in to use your account with your client.</p>
<form id="password" hidden>
<p><label>User name: <input name="user" autocomplete="username" autocapitalize="none" required></label></p>
<p><label>Password: <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Log in</button></p>
</form>
<ul id="providers"></ul>
<noscript><p><strong>This page needs JavaScript.</strong></p></noscript>
<script nonce="{{$.Nonce}}">
"use strict";
const api = "../../../client/v3/login";
const here = new URL(location.href);
const token = here.searchParams.get("loginToken");
here.searchParams.delete("loginToken");
here.hash = "";
history.replaceState(null, "", here);
const form = document.getElementById("password");
const providers = document.getElementById("providers");
function say(text) { document.getElementById("said").textContent = text; }
async function call(options) {
	const answer = await fetch(api, options);
	const body = await answer.json();
	if (!answer.ok) throw new Error(body.error);
	return body;
}
async function login(credentials) {
	const request = {refresh_token: here.searchParams.get("refresh_token") === "true"};
	for (const name of ["device_id", "initial_device_display_name"]) {
		if (here.searchParams.has(name)) request[name] = here.searchParams.get(name);
	}
	try {
		const session = await call({
			method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(Object.assign(request, credentials)),
		});
		form.hidden = providers.hidden = true;
		say("You are logged in as " + session.user_id + ".");
		if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(session);
	} catch (problem) {
		say(problem.message);
	}
}
async function start() {
	if (token) {
		await login({type: "m.login.token", token: token});
		return;
	}
	const flows = (await call()).flows;
	form.hidden = !flows.some(flow => flow.type === "m.login.password");
	for (const flow of flows) {
		for (const provider of flow.identity_providers || []) {
			const link = document.createElement("a");
			link.href = api + "/sso/redirect/" + encodeURIComponent(provider.id) + "?redirectUrl=" + encodeURIComponent(here.href);
			link.textContent = "Continue with " + provider.name;
			providers.appendChild(document.createElement("li")).appendChild(link);
		}
	}
}
form.addEventListener("submit", event => {
	event.preventDefault();
	login({type: "m.login.password", identifier: {type: "m.id.user", user: form.elements.user.value}, password: form.elements.password.value});
});
start().catch(problem => say(problem.message));
</script>`)

// Spec: client-server-api#login-fallback
func (a *API) loginFallback(context.Context, *web.Request) (any, error) {
	return a.show(loginPage, http.StatusOK, struct{}{})
}
