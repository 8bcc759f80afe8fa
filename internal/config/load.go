package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Process is the environment of one process.
type Process interface {
	Receiver | Controller | Migrate | Tool
	// validate returns the problems of values that parse: their sizes, and rules across variables.
	validate() []Problem
}

// Problem is one error in the environment.
type Problem struct {
	// Variables are the names of the variables concerned, mostly one.
	Variables []string
	// Message says what is expected. It never quotes a secret.
	Message string
}

func (p Problem) Error() string { return strings.Join(p.Variables, ", ") + ": " + p.Message }

// Load reads the environment of a process, given in the form of os.Environ. Blanks around a value are dropped, and an
// empty value is unset. The error joins all Problems, so that one start shows them all.
func Load[P Process](environ []string) (P, error) {
	values, found := valuesOf(Variables[P](), env.ToMap(environ))

	var p P
	err := env.ParseWithOptions(&p, env.Options{Environment: values, FuncMap: parsers()})
	for _, problem := range slices.Concat(translate[P](err), p.validate()) {
		// A value that cannot be read is zero: its absence and its size are no further problems.
		if !concern(found, problem.Variables) {
			found = append(found, problem)
		}
	}
	return p, join(found)
}

// concern reports whether one of the problems concerns one of the variables.
func concern(problems []Problem, variables []string) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool {
		return slices.ContainsFunc(p.Variables, func(v string) bool { return slices.Contains(variables, v) })
	})
}

func join(problems []Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// valuesOf reads the _FILE twins and returns the values of the variables that are set.
func valuesOf(variables []Variable, environment map[string]string) (map[string]string, []Problem) {
	values := map[string]string{}
	var found []Problem
	for _, v := range variables {
		value, err := valueOf(v, environment)
		if err != nil {
			found = append(found, Problem{[]string{v.Name}, err.Error()})
		} else if value != "" {
			values[v.Name] = value
		}
	}
	return values, found
}

func valueOf(v Variable, environment map[string]string) (string, error) {
	value := strings.TrimSpace(environment[v.Name])
	file := strings.TrimSpace(environment[v.FileName()])
	if !v.File || file == "" {
		return value, nil
	}
	if value != "" {
		return "", fmt.Errorf("expected either this or %s, both are set", v.FileName())
	}
	content, err := os.ReadFile(file)
	if failed, ok := errors.AsType[*fs.PathError](err); ok && !filepath.IsAbs(file) {
		// A relative path may be the secret itself, which must not be shown.
		return "", fmt.Errorf("read %s: expected the path of a file that holds the value: %w", v.FileName(), failed.Err)
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", v.FileName(), err)
	}
	// Editors leave a line break at the end of a file.
	value = strings.TrimSpace(string(content))
	if value == "" {
		return "", fmt.Errorf("read %s: %s is empty", v.FileName(), file)
	}
	return value, nil
}

// translate turns the errors of the env library, which name struct fields, into problems, which name variables.
func translate[P Process](err error) []Problem {
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return nil
	}
	names := map[string]string{}
	help := map[string]string{}
	for i, v := range Variables[P]() {
		names[fieldsOf[P]()[i].Name] = v.Name
		help[v.Name] = v.Help
	}
	var found []Problem
	for _, err := range aggregate.Errors {
		if empty, ok := errors.AsType[env.EmptyVarError](err); ok {
			found = append(found, Problem{[]string{empty.Key}, "required: " + help[empty.Key]})
		} else if parse, ok := errors.AsType[env.ParseError](err); ok {
			found = append(found, Problem{[]string{names[parse.Name]}, parse.Err.Error()})
		} else {
			// The library cannot fill the struct: a bug, with which no process starts.
			found = append(found, Problem{[]string{"environment"}, err.Error()})
		}
	}
	return found
}
