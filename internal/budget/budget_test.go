package budget

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestSharesFollowTheLimitAndLeaveRoom(t *testing.T) {
	sum := int64(garbageParts)
	for cache, part := range parts {
		sum += part
		small, large := New(64<<20).Share(cache).Limit(), New(1<<30).Share(cache).Limit()
		if small <= 0 || large != 16*small {
			t.Errorf("%s: %d of 64 MiB, %d of 1 GiB", cache, small, large)
		}
		var none *Memory
		if got := none.Share(cache).Limit(); got != New(DefaultLimit).Share(cache).Limit() {
			t.Errorf("%s: %d of nothing", cache, got)
		}
	}
	if sum > 110 {
		t.Errorf("the caches and the garbage may hold %d of 128 parts, which leaves too little for requests", sum)
	}
}

func TestSharesAreSeenAsMetrics(t *testing.T) {
	m := New(128 << 20)
	s := m.Share(Events)
	m.Share(Pages)
	if !s.Hold(s.Limit()) || s.Hold(s.Limit()+1) {
		t.Error("a share is not what it says")
	}
	s.Asked(true)
	s.Asked(true)
	s.Asked(false)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			key := f.GetName()
			for _, label := range metric.GetLabel() {
				key += " " + label.GetValue()
			}
			got[key] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	for key, want := range map[string]float64{
		"hearth_cache_bytes events": 16<<20 + 1, "hearth_cache_limit_bytes events": 16 << 20, "hearth_cache_limit_bytes sqlite_pages": 16 << 20,
		"hearth_cache_lookups_total events yes": 2, "hearth_cache_lookups_total events no": 1,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
}
