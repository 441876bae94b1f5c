package clientapi

import (
	"context"
	"net/http"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) deviceRoutes() []web.Route {
	const device = "/_matrix/client/v3/devices/{deviceID}"
	return []web.Route{
		{"GET", "/_matrix/client/v3/devices", web.Guest, web.RateNone, a.devices},
		{"GET", device, web.Guest, web.RateNone, a.device},
		{"PUT", device, web.Guest | web.WhileSuspended, web.RateWrite, a.renameDevice},
		{"DELETE", device, web.User | web.WhileSuspended, web.RateLogin, a.deleteDevice},
		{"POST", "/_matrix/client/v3/delete_devices", web.User | web.WhileSuspended, web.RateLogin, a.deleteDevices},
	}
}

type device struct {
	ID          id.DeviceID `json:"device_id"`
	DisplayName *string     `json:"display_name,omitempty"`
	LastSeenIP  string      `json:"last_seen_ip,omitempty"`
	LastSeenTS  int64       `json:"last_seen_ts,omitempty"`
}

func shapeDevice(d storage.Device) device {
	return device{d.ID, d.DisplayName, d.LastSeenIP, d.LastSeenTS}
}

// Spec: client-server-api#get_matrixclientv3devices
func (a *API) devices(ctx context.Context, r *web.Request) (any, error) {
	rows, err := a.accounts.Devices(ctx, r.Caller.User)
	out := make([]device, len(rows))
	for i, row := range rows {
		out[i] = shapeDevice(row)
	}
	return struct {
		Devices []device `json:"devices"`
	}{out}, err
}

// Spec: client-server-api#get_matrixclientv3devicesdeviceid
func (a *API) device(ctx context.Context, r *web.Request) (any, error) {
	name, err := r.DeviceID("deviceID")
	if err != nil {
		return nil, err
	}
	row, err := a.accounts.Device(ctx, r.Caller.User, name)
	return shapeDevice(row), err
}

// Spec: client-server-api#put_matrixclientv3devicesdeviceid
func (a *API) renameDevice(ctx context.Context, r *web.Request) (any, error) {
	name, err := r.DeviceID("deviceID")
	if err != nil {
		return nil, err
	}
	var body struct {
		DisplayName *string `json:"display_name"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if r.Caller.AppserviceID != "" {
		// Spec: application-service-api#creating-devices
		fresh, err := a.accounts.PutDevice(ctx, r.Caller.User, name, body.DisplayName)
		if err == nil && fresh {
			return web.Status{Code: http.StatusCreated, Body: web.Empty{}}, nil
		}
		return nil, err
	}
	return nil, a.accounts.RenameDevice(ctx, r.Caller.User, name, body.DisplayName)
}

// Spec: client-server-api#delete_matrixclientv3devicesdeviceid
func (a *API) deleteDevice(ctx context.Context, r *web.Request) (any, error) {
	name, err := r.DeviceID("deviceID")
	if err != nil {
		return nil, err
	}
	body, err := optionalObject(r)
	if err != nil {
		return nil, err
	}
	return interactive(nil, a.accounts.DeleteDevice(ctx, managed(r, body), name))
}

// Spec: client-server-api#post_matrixclientv3delete_devices
func (a *API) deleteDevices(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	return interactive(nil, a.accounts.DeleteListedDevices(ctx, managed(r, body)))
}
