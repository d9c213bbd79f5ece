package main

import (
	"fmt"
	"net/url"
	"os"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// settings finds a flag's value where the command line does not give one: in the
// environment, then in the YAML file that --config or CAUSALITY_CONFIG names. It
// remembers what came from where, for doctor.
type settings struct {
	lookup func(string) (string, bool)
	path   string
	file   map[string]any
	from   map[string]string // flag to where its value came from
	values map[string]string // flag to its value, of the command that runs
}

func newSettings(lookup func(string) (string, bool)) *settings {
	return &settings{lookup: lookup, from: map[string]string{}, values: map[string]string{}}
}

// Validate is called once all flags are known: a key of the file that names none
// of them is a mistake that should not pass in silence.
func (s *settings) Validate(application *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(application, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	return s.checkKeys(known)
}

func (s *settings) checkKeys(known map[string]bool) error {
	var unknown []string
	for key := range s.file {
		if !known[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Strings(unknown)
	return fmt.Errorf("%s: no setting is called %s; a key is a flag's name, such as listen or database-url", s.path, strings.Join(unknown, ", "))
}

// Resolve implements kong.Resolver. Flags of the command line never come here.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Tag.Envs {
		if value, ok := s.lookup(name); ok && value != "" {
			s.from[flag.Name] = name
			return value, nil
		}
	}
	value, ok := s.file[flag.Name]
	if !ok {
		return nil, nil // kong's way to say: not here
	}
	s.from[flag.Name] = s.path
	switch value := value.(type) {
	case []any:
		texts := make([]string, len(value))
		for i, item := range value {
			texts[i] = fmt.Sprint(item)
		}
		return strings.Join(texts, ","), nil
	case map[string]any:
		return nil, fmt.Errorf("%s: %s is a group; it must be a plain value", s.path, flag.Name)
	case nil:
		return nil, nil // an empty key is no value
	default:
		return fmt.Sprint(value), nil
	}
}

// record remembers the values of the chosen command's flags, and which of them
// the command line gave.
func (s *settings) record(parsed *kong.Context) {
	given := map[string]bool{}
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag.Name] = true
		}
	}
	for _, flag := range parsed.Flags() {
		if flag.Name == "help" {
			continue
		}
		s.values[flag.Name] = shown(flag.Name, fmt.Sprint(parsed.FlagValue(flag)))
		if given[flag.Name] {
			s.from[flag.Name] = "--" + flag.Name
		}
	}
}

// shown hides secrets: keys, tokens, and the passwords of URLs.
func shown(name, value string) string {
	if value != "" && (name == "key" || strings.HasSuffix(name, "-token") || strings.HasSuffix(name, "-password")) {
		return "(set)"
	}
	if strings.HasSuffix(name, "nats-url") && value != "" { // several, each with a token
		return "(set)"
	}
	if !strings.HasSuffix(name, "-url") {
		return value
	}
	if address, err := url.Parse(value); err == nil {
		return address.Redacted()
	}
	return "(not readable as a URL)"
}

// load reads the YAML file that the arguments, or else the environment, name.
// Keys may be written with - or _.
func (s *settings) load(args []string) error {
	path := configPath(args)
	if path == "" {
		path, _ = s.lookup("CAUSALITY_CONFIG")
	}
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the configuration cannot be read: %w", err)
	}
	var keys map[string]any
	if err := yaml.Unmarshal(content, &keys); err != nil {
		return fmt.Errorf("%s is no YAML of settings: %s", path, strings.SplitN(yaml.FormatError(err, false, false), "\n", 2)[0])
	}
	s.path, s.file = path, map[string]any{}
	for key, value := range keys {
		s.file[strings.ReplaceAll(key, "_", "-")] = value
	}
	return nil
}

// configPath finds --config before the arguments are parsed, because parsing
// asks for the settings.
func configPath(args []string) string {
	for i, arg := range args {
		if arg == "--" {
			return ""
		}
		if path, ok := strings.CutPrefix(arg, "--config="); ok {
			return path
		}
		if arg == "--config" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}
