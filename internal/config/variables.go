package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Variable is the declaration of one environment variable.
type Variable struct {
	Name string
	Type Type
	// Help says what the variable means.
	Help string
	// Values are the allowed values, nil if the type allows more than a few.
	Values []string
	// Default is the value of a variable that is not set, "" if there is none.
	Default string
	// Unset says what happens if a variable without a default is not set.
	Unset string
	// Required is true if the process does not start without the variable.
	Required bool
	// Secret is true if no output may show the value.
	Secret bool
	// File is true if a file can hold the value, named by the variable that FileName returns. Every secret has one.
	File bool
	// Chart is the path of the value in the Helm chart.
	Chart string
	// Readers are the installed processes that read the variable. Only All sets them.
	Readers []string
}

// FileName returns the name of the variable's _FILE twin.
func (v Variable) FileName() string { return v.Name + "_FILE" }

// Description returns the help with the allowed values, and with the value of a variable that is not set.
func (v Variable) Description() string {
	var notes []string
	if v.Values != nil {
		notes = append(notes, strings.Join(v.Values, " or "))
	}
	switch {
	case v.Required:
		notes = append(notes, "required")
	case v.Default != "":
		notes = append(notes, "default "+v.Default)
	default:
		notes = append(notes, "unset: "+v.Unset)
	}
	return v.Help + " (" + strings.Join(notes, "; ") + ")"
}

// Variables returns the variables of a process, in the order of its struct.
func Variables[P Process]() []Variable {
	fields := fieldsOf[P]()
	variables := make([]Variable, len(fields))
	for i, f := range fields {
		variables[i] = variableOf(f)
	}
	return variables
}

func variableOf(f reflect.StructField) Variable {
	name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
	typ := f.Type
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	kind := kinds[typ]
	parent := "config."
	if kind.secret {
		parent = "secret.data."
	}
	return Variable{
		Name:     name,
		Type:     cmp.Or(Type(f.Tag.Get("type")), kind.name, TypeString),
		Help:     f.Tag.Get("help"),
		Values:   kind.values,
		Default:  f.Tag.Get("envDefault"),
		Unset:    f.Tag.Get("unset"),
		Required: options == "notEmpty",
		Secret:   kind.secret,
		File:     kind.secret || f.Tag.Get("file") == "true",
		Chart:    cmp.Or(f.Tag.Get("chart"), parent+name),
	}
}

// fieldsOf returns the fields that a variable fills, including those of embedded structs.
func fieldsOf[P Process]() []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[P]()), func(f reflect.StructField) bool {
		return f.Tag.Get("env") == ""
	})
}

// InstalledProcess is a process that an installation runs, by the name of its subcommand.
type InstalledProcess struct {
	Name      string
	Variables []Variable
}

// Installed returns the processes that an installation runs.
func Installed() []InstalledProcess {
	return []InstalledProcess{
		{"receiver", Variables[Receiver]()},
		{"controller", Variables[Controller]()},
		{"migrate", Variables[Migrate]()},
	}
}

// All returns every variable of the installed processes once, with its readers.
func All() []Variable {
	var all []Variable
	for _, process := range Installed() {
		for _, v := range process.Variables {
			i := slices.IndexFunc(all, func(other Variable) bool { return other.Name == v.Name })
			if i < 0 {
				i, all = len(all), append(all, v)
			}
			all[i].Readers = append(all[i].Readers, process.Name)
		}
	}
	return all
}

// parsers returns the parse function of each Go type, as the env library takes them.
func parsers() map[reflect.Type]env.ParserFunc {
	functions := make(map[reflect.Type]env.ParserFunc, len(kinds))
	for typ, kind := range kinds {
		functions[typ] = kind.parse
	}
	return functions
}
