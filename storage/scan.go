package storage

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// bindable brings an argument into one of the forms that both databases take: nil, int64, float64, string or []byte. A bool
// becomes 0 or 1, a json.RawMessage the string it is, a nil pointer null.
func bindable(v any) (any, error) {
	switch v := v.(type) {
	case nil, int64, float64, string, []byte:
		return v, nil
	case int:
		return int64(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case json.RawMessage:
		if v == nil {
			return nil, nil
		}
		return string(v), nil
	case driver.Valuer:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
			return nil, nil
		}
		inner, err := v.Value()
		if err != nil {
			return nil, err
		}
		if _, ok := inner.(driver.Valuer); ok {
			return nil, fmt.Errorf("%T gives another driver.Valuer", v)
		}
		return bindable(inner)
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.String:
		return rv.String(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return rv.Int(), nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(rv.Uint()), nil
	case reflect.Uint, reflect.Uint64:
		if u := rv.Uint(); u <= 1<<63-1 {
			return int64(u), nil
		}
		return nil, fmt.Errorf("the integer is too large to be stored")
	case reflect.Bool:
		return bindable(rv.Bool())
	case reflect.Float32, reflect.Float64:
		return rv.Float(), nil
	case reflect.Pointer:
		if rv.IsNil() {
			return nil, nil
		}
		return bindable(rv.Elem().Interface())
	case reflect.Slice:
		if rv.Type().Elem().Kind() == reflect.Uint8 {
			return rv.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("a %T cannot be stored", v)
}

// assign copies a column's value, one of nil, int64, float64, string and []byte, to where dest points. The bytes are the
// caller's to keep.
func assign(dest, v any) error {
	switch d := dest.(type) {
	case *any:
		*d = v
		return nil
	case sql.Scanner:
		return d.Scan(v)
	}
	rv := reflect.ValueOf(dest)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("a %T is not a place to copy a column to", dest)
	}
	return assignTo(rv.Elem(), v)
}

func assignTo(to reflect.Value, v any) error {
	if to.Kind() == reflect.Pointer {
		if v == nil {
			to.SetZero()
			return nil
		}
		p := reflect.New(to.Type().Elem())
		if err := assign(p.Interface(), v); err != nil {
			return err
		}
		to.Set(p)
		return nil
	}
	isBytes := to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Uint8
	switch v := v.(type) {
	case nil:
		if isBytes {
			to.SetZero()
			return nil
		}
		return fmt.Errorf("the column is null; a %s cannot say that, a pointer to it can", to.Type())
	case int64:
		return assignInt(to, v)
	case float64:
		if to.CanFloat() {
			to.SetFloat(v)
			return nil
		}
		if n := int64(v); float64(n) == v { // PostgreSQL's sum of bigints, SQLite's arithmetic
			return assignInt(to, n)
		}
	case string:
		if to.Kind() == reflect.String {
			to.SetString(v)
			return nil
		}
		if isBytes {
			to.SetBytes([]byte(v))
			return nil
		}
		if to.CanInt() {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return assignInt(to, n)
			}
		}
	case []byte:
		if isBytes {
			to.SetBytes(v)
			return nil
		}
		if to.Kind() == reflect.String {
			to.SetString(string(v))
			return nil
		}
	}
	return fmt.Errorf("a %T column does not fit into a %s", v, to.Type())
}

func assignInt(to reflect.Value, n int64) error {
	switch {
	case to.CanInt() && !to.OverflowInt(n):
		to.SetInt(n)
	case to.CanUint() && n >= 0 && !to.OverflowUint(uint64(n)):
		to.SetUint(uint64(n))
	case to.Kind() == reflect.Bool && (n == 0 || n == 1):
		to.SetBool(n == 1)
	case to.CanFloat():
		to.SetFloat(float64(n))
	default:
		return fmt.Errorf("the integer %d does not fit into a %s", n, to.Type())
	}
	return nil
}
