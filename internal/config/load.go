package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Process is the environment of one process.
type Process interface {
	Receiver | Controller | Migrate | Tool
	// problems returns what the values get wrong together or by their size.
	problems() []Problem
}

// Problem is one thing that is wrong with the environment.
type Problem struct {
	// Variables are the names of those concerned, mostly one.
	Variables []string
	// Message says what is expected of them. It never quotes a secret.
	Message string
}

func (m Problem) Error() string { return strings.Join(m.Variables, ", ") + ": " + m.Message }

// Variable describes one environment variable, as its struct tags do.
type Variable struct {
	Name string
	// Meaning says what the variable is for.
	Meaning string
	// Default is the value in force where the variable is not set, "" where there is none.
	Default string
	// Unset says what happens where a variable without default is not set.
	Unset string
	// Required is true where the process does not start without it.
	Required bool
	// File is true where the value can also be given in a file, named by the variable FileName returns. Every secret
	// can.
	File bool
}

// FileName returns the name of the variable's _FILE twin.
func (v Variable) FileName() string { return v.Name + "_FILE" }

// Variables returns the variables of a process, in the order of its struct.
func Variables[P Process]() []Variable {
	fields := fieldsOf[P]()
	variables := make([]Variable, len(fields))
	for i, f := range fields {
		name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		variables[i] = Variable{
			Name:     name,
			Meaning:  f.Tag.Get("help"),
			Default:  f.Tag.Get("envDefault"),
			Unset:    f.Tag.Get("unset"),
			Required: options == "notEmpty",
			File:     f.Tag.Get("file") == "true",
		}
	}
	return variables
}

// fieldsOf returns the fields that a variable fills, those of embedded structs included.
func fieldsOf[P Process]() []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[P]()), func(f reflect.StructField) bool {
		return f.Tag.Get("env") == ""
	})
}

// Load reads the environment of a process, given in the form of os.Environ. Blanks around a value do not count, an
// empty value counts as unset. The error joins every Problem there is, so that one start shows them all.
func Load[P Process](environ []string) (P, error) {
	values, found := valuesOf(Variables[P](), env.ToMap(environ))

	var p P
	err := env.ParseWithOptions(&p, env.Options{Environment: values, FuncMap: parsers})
	for _, m := range slices.Concat(translate[P](err), p.problems()) {
		// A value that could not be read is zero: there is nothing to say about its absence or its size.
		if !concern(found, m.Variables) {
			found = append(found, m)
		}
	}
	return p, join(found)
}

// concern reports whether one of the problems concerns one of the variables.
func concern(problems []Problem, variables []string) bool {
	return slices.ContainsFunc(problems, func(m Problem) bool {
		return slices.ContainsFunc(m.Variables, func(v string) bool { return slices.Contains(variables, v) })
	})
}

func join(problems []Problem) error {
	errs := make([]error, len(problems))
	for i, m := range problems {
		errs[i] = m
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
		// It may be the secret itself, which must not be shown.
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
	meanings := map[string]string{}
	for i, v := range Variables[P]() {
		names[fieldsOf[P]()[i].Name] = v.Name
		meanings[v.Name] = v.Meaning
	}
	var found []Problem
	for _, err := range aggregate.Errors {
		if empty, ok := errors.AsType[env.EmptyVarError](err); ok {
			found = append(found, Problem{[]string{empty.Key}, "required: " + meanings[empty.Key]})
		} else if parse, ok := errors.AsType[env.ParseError](err); ok {
			found = append(found, Problem{[]string{names[parse.Name]}, parse.Err.Error()})
		} else {
			// A struct that the library cannot fill is a mistake of ours, and not one to start with.
			found = append(found, Problem{[]string{"environment"}, err.Error()})
		}
	}
	return found
}
