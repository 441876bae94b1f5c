package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Source says where a configuration is read from, beside the environment.
type Source struct {
	// File is the path of the YAML file; empty: none.
	File string
	// Flags is a set made by Flags, parsed; nil: none.
	Flags *pflag.FlagSet
}

// Flags returns a set with one flag for every setting, named like its key.
func Flags() *pflag.FlagSet {
	set := pflag.NewFlagSet("hearth", pflag.ContinueOnError)
	set.Usage = func() {} // the caller knows more to say
	cfg := Default()
	for _, f := range fields(&cfg) {
		set.String(f.key, "", "")
		if f.value.Kind() == reflect.Bool {
			set.Lookup(f.key).NoOptDefVal = "true"
		}
	}
	return set
}

// Load reads the configuration and validates it. The error names every problem there is, one per line.
func Load(src Source) (Config, error) {
	v := viper.New()
	// An empty variable is a value: it empties a list or takes an instant back.
	v.AllowEmptyEnv(true)
	var problems []error
	if src.File != "" {
		if err := readFile(v, src.File); err != nil {
			return Config{}, err
		}
	}
	cfg := Default()
	all := fields(&cfg)
	problems = append(problems, unknownKeys(v, all)...)
	problems = append(problems, unknownEnv(os.Environ(), all)...)
	for _, f := range all {
		if err := v.BindEnv(f.key, envName(f.key)); err != nil {
			return Config{}, fmt.Errorf("bind %s: %w", f.key, err)
		}
		if src.Flags != nil {
			if err := v.BindPFlag(f.key, src.Flags.Lookup(f.key)); err != nil {
				return Config{}, fmt.Errorf("bind %s: %w", f.key, err)
			}
		}
		if !isGiven(v, src, f.key) {
			continue
		}
		raw := v.Get(f.key)
		if raw == nil {
			continue // "key:" with nothing behind it says nothing
		}
		if err := f.set(raw); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.key, f.hide(err)))
		}
	}
	// What could not be read still has its default, which makes sense: this adds problems of other settings only.
	problems = append(problems, cfg.Validate())
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// isGiven tells whether file, environment or flags mention the key; viper's own answer counts flags that were not used.
func isGiven(v *viper.Viper, src Source, key string) bool {
	if _, ok := os.LookupEnv(envName(key)); ok {
		return true
	}
	return v.InConfig(key) || src.Flags != nil && src.Flags.Changed(key)
}

// hide keeps the values of secrets out of messages.
func (f field) hide(err error) error {
	if f.secret {
		return errors.New("the value cannot be read as text; put it in quotes")
	}
	return err
}

func readFile(v *viper.Viper, path string) error {
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	err := v.ReadInConfig()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s", path)
	}
	if err != nil {
		return fmt.Errorf("%s: %s", path, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return nil
}

// unknownKeys reports what the file says that no setting hears. It runs before the environment is bound, when all keys are the file's.
func unknownKeys(v *viper.Viper, all []field) []error {
	var problems []error
	keys := v.AllKeys()
	slices.Sort(keys)
	for _, key := range keys {
		known := slices.ContainsFunc(all, func(f field) bool { return f.key == key })
		section := slices.ContainsFunc(all, func(f field) bool { return strings.HasPrefix(f.key, key+".") })
		// A mapping where a value belongs is reported with the value.
		inside := slices.ContainsFunc(all, func(f field) bool { return strings.HasPrefix(key, f.key+".") })
		switch {
		case known || inside || section && v.Get(key) == nil:
		case section:
			problems = append(problems, fmt.Errorf("%s: is a section and takes no value", key))
		default:
			problems = append(problems, fmt.Errorf("%s: unknown key%s", key, suggestion(key, all)))
		}
	}
	return problems
}

// unknownEnv reports variables that look like settings and are none. HEARTH_CONFIG names the file, HEARTH_TEST_* belongs to the tests,
// and HEARTH_PORT and HEARTH_SERVICE_* are what Kubernetes sets in every container beside a service called "hearth".
func unknownEnv(environ []string, all []field) []error {
	var problems []error
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HEARTH_") || name == "HEARTH_CONFIG" || name == "HEARTH_PORT" {
			continue
		}
		foreign := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if slices.ContainsFunc([]string{"HEARTH_TEST_", "HEARTH_PORT_", "HEARTH_SERVICE_"}, foreign) {
			continue
		}
		if !slices.ContainsFunc(all, func(f field) bool { return envName(f.key) == name }) {
			problems = append(problems, fmt.Errorf("%s: no setting has this environment variable", name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// suggestion finds the setting that was probably meant: one that ends in the key, else one that ends in its last part.
func suggestion(key string, all []field) string {
	for _, end := range []string{key, key[strings.LastIndex(key, ".")+1:]} {
		for _, f := range all {
			if strings.HasSuffix(f.key, "."+end) {
				return fmt.Sprintf(" (did you mean %s?)", f.key)
			}
		}
	}
	return ""
}
