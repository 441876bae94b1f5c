package config

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// field is one setting: a leaf of the Config struct.
type field struct {
	key    string
	value  reflect.Value
	reload bool
	secret bool
}

// fields lists the settings of cfg in the order of the struct; their values can be set.
func fields(cfg *Config) []field {
	var out []field
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key := prefix + f.Tag.Get("key")
			if isSection(f.Type) {
				walk(key+".", v.Field(i))
				continue
			}
			out = append(out, field{key, v.Field(i), f.Tag.Get("reload") == "yes", f.Tag.Get("secret") == "yes"})
		}
	}
	walk("", reflect.ValueOf(cfg).Elem())
	return out
}

// isSection tells structs that hold settings from those that are one.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && t != reflect.TypeFor[Prefix]()
}

// envName is the environment variable of a key.
func envName(key string) string {
	return "HEARTH_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// set gives the setting a value that came from YAML (typed), the environment or a flag (text).
func (f field) set(raw any) error {
	out, err := convert(raw, f.value.Type())
	if err != nil {
		return err
	}
	f.value.Set(out)
	return nil
}

func convert(raw any, t reflect.Type) (reflect.Value, error) {
	text, isText := raw.(string)
	switch t {
	case reflect.TypeFor[time.Duration]():
		if !isText {
			return reflect.Value{}, fmt.Errorf("%v is %w", raw, errDuration)
		}
		return valueOf(ParseDuration(text))
	case reflect.TypeFor[time.Time]():
		if at, ok := raw.(time.Time); ok {
			return reflect.ValueOf(at.UTC()), nil
		}
		return valueOf(ParseInstant(fmt.Sprint(raw)))
	case reflect.TypeFor[ByteSize]():
		return valueOf(ParseByteSize(fmt.Sprint(raw)))
	case reflect.TypeFor[Prefix]():
		return valueOf(ParsePrefix(fmt.Sprint(raw)))
	}
	switch t.Kind() {
	case reflect.String:
		if !isText {
			return reflect.Value{}, fmt.Errorf("%v is not text; put it in quotes", raw)
		}
		return reflect.ValueOf(text).Convert(t), nil
	case reflect.Bool:
		b, err := strconv.ParseBool(fmt.Sprint(raw))
		if err != nil {
			return reflect.Value{}, fmt.Errorf("%q is neither true nor false", fmt.Sprint(raw))
		}
		return reflect.ValueOf(b), nil
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(fmt.Sprint(raw), "_", ""), 10, t.Bits())
		if err != nil {
			return reflect.Value{}, fmt.Errorf("%q is not a whole number", fmt.Sprint(raw))
		}
		return reflect.ValueOf(n).Convert(t), nil
	case reflect.Float64:
		n, err := strconv.ParseFloat(fmt.Sprint(raw), 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return reflect.Value{}, fmt.Errorf("%q is not a number", fmt.Sprint(raw))
		}
		return reflect.ValueOf(n), nil
	case reflect.Slice:
		return convertList(raw, t)
	case reflect.Struct:
		return convertEntry(raw, t)
	}
	return reflect.Value{}, fmt.Errorf("settings of type %s are not known", t)
}

func valueOf[T any](v T, err error) (reflect.Value, error) { return reflect.ValueOf(v), err }

// convertList takes a YAML sequence, or text: items separated by commas, or YAML where the items are structs. Nothing is the empty
// list, which is kept as nil so that equal configurations are deeply equal.
func convertList(raw any, t reflect.Type) (reflect.Value, error) {
	var items []any
	switch list := raw.(type) {
	case []any:
		items = list
	case string:
		if isSection(t.Elem()) || strings.HasPrefix(strings.TrimSpace(list), "[") {
			if err := yaml.Unmarshal([]byte(list), &items); err != nil {
				return reflect.Value{}, fmt.Errorf("%q is not a YAML or JSON list", list)
			}
			break
		}
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	default:
		return reflect.Value{}, fmt.Errorf("%v is not a list", raw)
	}
	out := reflect.Zero(t)
	for _, item := range items {
		v, err := convert(item, t.Elem())
		if err != nil {
			return reflect.Value{}, err
		}
		out = reflect.Append(out, v)
	}
	return out, nil
}

// convertEntry makes a struct, an item of a list, out of a YAML mapping.
func convertEntry(raw any, t reflect.Type) (reflect.Value, error) {
	mapping, ok := raw.(map[string]any)
	if !ok {
		return reflect.Value{}, fmt.Errorf("%v is not an entry with keys", raw)
	}
	out := reflect.New(t).Elem()
	unknown := maps.Clone(mapping)
	for i := range t.NumField() {
		v, ok := mapping[t.Field(i).Tag.Get("key")]
		if !ok {
			continue
		}
		delete(unknown, t.Field(i).Tag.Get("key"))
		item, err := convert(v, t.Field(i).Type)
		if err != nil {
			err = field{secret: t.Field(i).Tag.Get("secret") == "yes"}.hide(err)
			return reflect.Value{}, fmt.Errorf("%s: %w", t.Field(i).Tag.Get("key"), err)
		}
		out.Field(i).Set(item)
	}
	if len(unknown) > 0 {
		return reflect.Value{}, fmt.Errorf("an entry has unknown keys: %s", strings.Join(slices.Sorted(maps.Keys(unknown)), ", "))
	}
	return out, nil
}
