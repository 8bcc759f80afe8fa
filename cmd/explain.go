package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// maxExplained is the maximum size in bytes of a body to explain. A receiver accepts less.
const maxExplained = 2 << 20

// explainFlags are the flags of `verity-sync explain`.
type explainFlags struct {
	event        string
	contentType  string
	source       string
	declaredType string
	declaredPath string
	output       string
	personal     bool
}

func (f *explainFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.event, "event", "", "id of a stored event to explain, instead of a file")
	fs.StringVar(&f.contentType, "content-type", "application/json", "content type of the request")
	fs.StringVar(&f.source, "source", event.SourceGHL, "source of the body in a file")
	fs.StringVar(&f.declaredType, "type", "", "type that the request declares, as with ?type=")
	fs.StringVar(&f.declaredPath, "id-path", "", "path of the id that the request declares, as with ?id=")
	fs.StringVarP(&f.output, "output", "o", "text", "output format: text or json")
	fs.BoolVar(&f.personal, "show-personal-data", false, "show phone numbers, e-mail addresses and names in full")
}

func newExplainCommand(environ []string) *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain BODY.json",
		Short: "Show how a body is decoded, and which rule decided each field",
		Long: "Show how a body is decoded (type, ids, status, time and keys) and which rule decided each field. The command reads\n" +
			"the body from a file, from standard input (-), or with --event from the database. Only --event needs the database.",
		RunE: func(cmd *cobra.Command, args []string) error {
			stored, err := flags.read(cmd, environ, args)
			if err != nil {
				return err
			}
			return permanent(flags.explain(stored, cmd.OutOrStdout()))
		},
	}
	flags.bind(cmd.Flags())
	cmd = setup[config.Tool](cmd)
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 && holdsURL(args[0]) {
			return permanent(errors.New("expected one file, or - for standard input"))
		}
		return nil
	}
	return cmd
}

// read returns the body to explain.
func (f *explainFlags) read(cmd *cobra.Command, environ, args []string) (store.StoredBody, error) {
	var problems []error
	if f.output != "text" && f.output != "json" {
		problems = append(problems, fmt.Errorf("--output: expected text or json, got %q", f.output))
	}
	if !slices.Contains(event.Sources, f.source) {
		problems = append(problems, fmt.Errorf("--source: expected one of %s, got %q", strings.Join(event.Sources, ", "), f.source))
	}
	id, err := uuid.Parse(eventIDOf(f.event))
	if f.event != "" && err != nil {
		problems = append(problems, errors.New("--event: expected an event's id, or the name of its WebhookEvent"))
	}
	if (f.event == "") == (len(args) == 0) {
		problems = append(problems, errors.New("expected either a file, or - for standard input, or --event"))
	}
	if err := errors.Join(problems...); err != nil {
		return store.StoredBody{}, permanent(err)
	}
	if f.event != "" {
		cfg, err := load[config.Tool](environ, nil)
		if err != nil {
			return store.StoredBody{}, err
		}
		stored, err := readEvent(cmd.Context(), cfg, id)
		return stored, classified(err)
	}
	in := cmd.InOrStdin()
	if args[0] != "-" {
		file, err := os.Open(args[0])
		if err != nil {
			return store.StoredBody{}, permanent(err)
		}
		defer func() { _ = file.Close() }() // It is only read.
		in = file
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxExplained))
	if err != nil {
		return store.StoredBody{}, permanent(fmt.Errorf("read the body: %w", err))
	}
	return store.StoredBody{Source: f.source, Payload: raw, ReceivedAt: time.Now()}, nil
}

// eventIDOf returns the id at the end of a WebhookEvent's name, and an id itself.
func eventIDOf(name string) string {
	for _, source := range event.Sources {
		if id, ok := strings.CutPrefix(name, source+"-"); ok {
			return id
		}
	}
	return name
}

func readEvent(ctx context.Context, cfg config.Tool, id uuid.UUID) (store.StoredBody, error) {
	db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync explain", MaxConns: 1})
	if err != nil {
		return store.StoredBody{}, err
	}
	defer db.Close()
	stored, err := db.ReadBody(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = permanent(fmt.Errorf("there is no event %s", id))
	}
	if err == nil && stored.ErasedAt != nil {
		err = permanent(fmt.Errorf("the data of event %s was erased at %s; the event cannot be explained or replayed",
			id, stored.ErasedAt.UTC().Format(time.RFC3339)))
	}
	return stored, err
}

// explained is the output.
type explained struct {
	EntityType  string          `json:"entityType"`
	OrderingKey string          `json:"orderingKey,omitempty"`
	Stored      string          `json:"storedAs,omitempty"`
	Fields      []event.Decided `json:"fields"`
	Contact     []person        `json:"contact,omitempty"`
}

// person is a value of the contact in the body.
type person struct {
	What  string `json:"field"`
	Value string `json:"value"`
}

func (f *explainFlags) explain(stored store.StoredBody, out io.Writer) error {
	x, err := source.Of(stored.Source).Explain(f.request(stored), stored.ReceivedAt)
	if err != nil {
		return err
	}
	shown := explained{EntityType: x.Event.EntityType, OrderingKey: x.Event.OrderingKey, Fields: x.Fields}
	if stored.Type != "" && (stored.Type != x.Event.Type || stored.EntityID != x.Event.EntityID) {
		shown.Stored = stored.Type + " " + stored.EntityID
	}
	for _, phone := range x.Content.Reach.Phones {
		shown.Contact = append(shown.Contact, person{"phone number", f.mask(phone)})
	}
	for _, email := range x.Content.Reach.Emails {
		shown.Contact = append(shown.Contact, person{"e-mail address", f.mask(email)})
	}
	name := x.Content.Person
	if full := strings.TrimSpace(name.FirstName + " " + name.LastName); full != "" {
		shown.Contact = append(shown.Contact, person{"name", f.mask(full)})
	}
	if f.output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(shown)
	}
	return shown.print(out)
}

// request returns the request that is explained: the stored one, or the one that the flags describe.
func (f *explainFlags) request(stored store.StoredBody) event.Request {
	header, query := http.Header{}, url.Values{}
	if f.declaredType != "" {
		query.Set("type", f.declaredType)
		query.Set("id", f.declaredPath)
	} else {
		for name, value := range stored.Headers {
			header.Set(name, value)
		}
	}
	header.Set("Content-Type", f.contentType)
	if f.event != "" {
		header.Set("Content-Type", "application/json") // A form is stored as the JSON object that it decodes to.
	}
	return event.Request{Header: header, RawQuery: query.Encode(), Body: stored.Payload}
}

// mask returns only the length of personal data.
func (f *explainFlags) mask(text string) string {
	if f.personal {
		return text
	}
	return fmt.Sprintf("(%d characters)", len([]rune(text)))
}

func (x explained) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIELD\tVALUE\tRULE\tMET IN")
	for _, d := range x.Fields {
		rule := cmp.Or(d.Note, d.Rule, "no rule finds one")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.Field, cmp.Or(d.Value, "-"), rule, cmp.Or(d.Source, "-"))
	}
	fmt.Fprintf(table, "entity type\t%s\tfrom the type\t-\n", x.EntityType)
	fmt.Fprintf(table, "ordering key\t%s\tentity type and id\t-\n", cmp.Or(x.OrderingKey, "-"))
	for _, p := range x.Contact {
		fmt.Fprintf(table, "%s\t%q\tof the contact\t-\n", p.What, p.Value)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if x.Stored != "" {
		fmt.Fprintf(out, "It was stored as %s, by the rules of the release that received it.\n", x.Stored)
	}
	return nil
}
