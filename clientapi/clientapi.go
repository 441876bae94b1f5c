// Package clientapi is the Client-Server API: each file has the handlers of one module of the specification, which parse a request, call
// a service and shape the answer. The package refuses to hold rules or SQL.
package clientapi

import (
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/delayed"
	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/notices"
	"github.com/hearthd/hearth/internal/pusher"
	"github.com/hearthd/hearth/internal/reports"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/threads"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

// Deps are the services that the handlers call.
type Deps struct {
	Config    *config.Live
	Accounts  *account.Service
	Directory *directory.Service
	Store     *storage.Store
	Rooms     *roomserver.Server
	E2EE      *e2ee.Service
	EDUs      *edu.Service
	Syncer    *syncer.Syncer
	Pushers   *pusher.Service
	Threads   *threads.Service
	Delayed   *delayed.Service
	Notices   *notices.Service
	Reports   *reports.Service
	Clock     clock.Clock
	// Appservices are those that are asked for what only they know; nil: there are none.
	Appservices *appservice.Service
}

// API is the handlers of the Client-Server API.
type API struct {
	config        *config.Live
	accounts      *account.Service
	directory     *directory.Service
	store         *storage.Store
	rooms         *roomserver.Server
	e2ee          *e2ee.Service
	edus          *edu.Service
	syncer        *syncer.Syncer
	pushers       *pusher.Service
	subscriptions *threads.Service
	delayed       *delayed.Service
	notices       *notices.Service
	reports       *reports.Service
	filters       *filterCache
	clock         clock.Clock

	appservices *appservice.Service
}

// New makes the handlers.
func New(d Deps) *API {
	return &API{
		config:        d.Config,
		accounts:      d.Accounts,
		directory:     d.Directory,
		store:         d.Store,
		rooms:         d.Rooms,
		e2ee:          d.E2EE,
		edus:          d.EDUs,
		syncer:        d.Syncer,
		pushers:       d.Pushers,
		subscriptions: d.Threads,
		delayed:       d.Delayed,
		notices:       d.Notices,
		reports:       d.Reports,
		filters:       newFilterCache(),
		clock:         d.Clock,

		appservices: d.Appservices,
	}
}

// Routes is the table of the whole API, with the paths of the releases before v1.1 beside those of today.
func (a *API) Routes() []web.Route {
	return withLegacy(slices.Concat(
		a.accountDataRoutes(),
		a.accountRoutes(),
		a.adminRoutes(),
		a.appserviceRoutes(),
		a.capabilityRoutes(),
		a.dehydratedRoutes(),
		a.delayedRoutes(),
		a.deviceRoutes(),
		a.emailPageRoutes(),
		a.filterRoutes(),
		a.keyBackupRoutes(),
		a.keyRoutes(),
		a.loginPageRoutes(),
		a.loginRoutes(),
		a.memberRoutes(),
		a.messageRoutes(),
		a.noticeRoutes(),
		a.notificationRoutes(),
		a.openIDRoutes(),
		a.peekRoutes(),
		a.presenceRoutes(),
		a.profileRoutes(),
		a.publicRoomRoutes(),
		a.pusherRoutes(),
		a.pushRuleRoutes(),
		a.readMarkerRoutes(),
		a.receiptRoutes(),
		a.registerRoutes(),
		a.relationRoutes(),
		a.reportedRoutes(),
		a.reportRoutes(),
		a.roomRoutes(),
		a.roomStateRoutes(),
		a.searchRoutes(),
		a.sendRoutes(),
		a.slidingRoutes(),
		a.spaceRoutes(),
		a.ssoRoutes(),
		a.syncRoutes(),
		a.tagRoutes(),
		a.thirdPartyRoutes(),
		a.threadSubscriptionRoutes(),
		a.threepidRoutes(),
		a.toDeviceRoutes(),
		a.typingRoutes(),
		a.uiaRoutes(),
		a.userDirectoryRoutes(),
		a.versionRoutes(),
		a.voipRoutes(),
	))
}

// withLegacy adds /_matrix/client/r0 for what is at /_matrix/client/v3. The two were never different but in name.
func withLegacy(routes []web.Route) []web.Route {
	out := slices.Clone(routes)
	for _, r := range routes {
		if rest, ok := strings.CutPrefix(r.Path, "/_matrix/client/v3/"); ok {
			r.Path = "/_matrix/client/r0/" + rest
			out = append(out, r)
		}
	}
	return out
}
