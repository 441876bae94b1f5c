package config

import (
	"reflect"
	"sync/atomic"
)

// Live is the configuration of a running server: read often, replaced by a reload. It is safe for concurrent use; what Get returns
// must not be changed.
type Live struct{ current atomic.Pointer[Config] }

// NewLive starts with cfg.
func NewLive(cfg Config) *Live {
	l := &Live{}
	l.Set(cfg)
	return l
}

// Get returns the configuration now in force.
func (l *Live) Get() *Config { return l.current.Load() }

// Set puts another configuration in force.
func (l *Live) Set(cfg Config) { l.current.Store(&cfg) }

// Change is a setting whose value differs between two configurations.
type Change struct {
	Key string
	// Applied is false where the new value needs a restart.
	Applied bool
}

// Reload reads the configuration again. It returns old with the values of all reloadable settings taken from the new one, and every
// setting that differs. When the new configuration is bad, the error says why and old stays in force.
func Reload(old Config, src Source) (Config, []Change, error) {
	loaded, err := Load(src)
	if err != nil {
		return old, nil, err
	}
	next := old
	var changes []Change
	from, to := fields(&loaded), fields(&next)
	for i := range to {
		if reflect.DeepEqual(to[i].value.Interface(), from[i].value.Interface()) {
			continue
		}
		changes = append(changes, Change{Key: to[i].key, Applied: to[i].reload})
		if to[i].reload {
			to[i].value.Set(from[i].value)
		}
	}
	if err := next.Validate(); err != nil {
		return old, nil, err
	}
	return next, changes, nil
}
