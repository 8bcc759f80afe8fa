package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/erasure"
	"github.com/dfmiddleware/verity-sync/internal/memory"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// eraseFlags are the flags of `verity-sync erase`.
type eraseFlags struct {
	contact  string
	phones   []string
	emails   []string
	location string
	region   string
	dryRun   bool
	yes      bool
	output   string
}

func (f *eraseFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.contact, "contact", "", "id of the person's contact at GoHighLevel")
	fs.StringArrayVar(&f.phones, "phone", nil,
		"phone number of the person; repeat the flag for several; - reads them from standard input, one a line")
	fs.StringArrayVar(&f.emails, "email", nil,
		"e-mail address of the person; repeat the flag for several; - reads them from standard input, one a line")
	fs.StringVar(&f.location, "location", "", "erase only data of this location of GoHighLevel, and data without a location")
	fs.StringVar(&f.region, "region", "US", "region of phone numbers without a country code, as an ISO 3166-1 code")
	fs.BoolVar(&f.dryRun, "dry-run", false, "report what would be erased, and change nothing")
	fs.BoolVar(&f.yes, "yes", false, "erase without confirmation")
	fs.StringVarP(&f.output, "output", "o", "text", "output format: text or json")
}

// readStandardInput replaces a phone number or an address of "-" by the lines of in, which may have both. Lists of processes show command
// lines, and so does the API server's audit log if kubectl runs the command.
func (f *eraseFlags) readStandardInput(in io.Reader) error {
	isDash := func(value string) bool { return value == "-" }
	if !slices.ContainsFunc(slices.Concat(f.phones, f.emails), isDash) {
		return nil
	}
	f.phones, f.emails = slices.DeleteFunc(f.phones, isDash), slices.DeleteFunc(f.emails, isDash)
	const longest = 1 << 20
	text, err := io.ReadAll(io.LimitReader(in, longest))
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.Contains(line, "@"):
			f.emails = append(f.emails, line)
		default:
			f.phones = append(f.phones, line)
		}
	}
	return nil
}

// person returns the person that the flags identify. Its errors quote no phone number and no address.
func (f *eraseFlags) person() (erasure.Person, error) {
	p := erasure.Person{
		ContactID: strings.TrimSpace(f.contact), Location: strings.TrimSpace(f.location), Region: strings.ToUpper(f.region),
	}
	var problems []error
	if f.output != "text" && f.output != "json" {
		problems = append(problems, fmt.Errorf("--output: expected text or json, got %q", f.output))
	}
	if !phonenumbers.GetSupportedRegions()[p.Region] {
		problems = append(problems, fmt.Errorf("--region: expected a region such as US or DE, got %q", f.region))
	}
	if p.ContactID == "" && len(f.phones) == 0 && len(f.emails) == 0 {
		problems = append(problems, errors.New("expected --contact, --phone or --email"))
	}
	for _, typed := range f.phones {
		numbers := phone.Numbers(typed, p.Region)
		if len(numbers) == 0 {
			problems = append(problems, fmt.Errorf("--phone: expected a phone number such as +12055550100: %s",
				phone.Unusable(typed, p.Region)))
		}
		p.Phones = append(p.Phones, numbers...)
	}
	for _, typed := range f.emails {
		addresses := phone.Emails(typed)
		if len(addresses) == 0 {
			problems = append(problems, errors.New("--email: expected an e-mail address such as ada@example.com"))
		}
		p.Emails = append(p.Emails, addresses...)
	}
	return p, errors.Join(problems...)
}

func newEraseCommand(environ []string) *cobra.Command {
	var flags eraseFlags
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Erase one person's data in the middleware database",
		Long: "Erase one person's data in the middleware database: the bodies and headers of the person's webhooks, their\n" +
			"details in the ledger, contact mappings and appointments. Dedupe keys stay, so that a repeated delivery is still\n" +
			"recognized. Unfinished events end in Error with the reason Erased, and erased events cannot be replayed.\n\n" +
			"Delete the person in GoHighLevel first: webhooks that arrive later are stored again. Nothing is erased at Verity,\n" +
			"at Aloware or in backups.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.readStandardInput(cmd.InOrStdin()); err != nil {
				return permanent(err)
			}
			person, problems := flags.person()
			cfg, err := load[config.Tool](environ, problems)
			if err != nil {
				return err
			}
			c := confirmation{cmd.InOrStdin(), cmd.ErrOrStderr()}
			return classified(runErase(cmd.Context(), cfg, person, flags, c, cmd.OutOrStdout()))
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Tool](cmd)
}

func runErase(ctx context.Context, cfg config.Tool, person erasure.Person, flags eraseFlags, c confirmation, out io.Writer) error {
	if !flags.dryRun && !flags.yes && !c.possible() {
		return permanent(errors.New("nothing was erased: there is no terminal to confirm on; look with --dry-run, then erase with --yes"))
	}
	memory.SetLimit()
	db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync erase", MaxConns: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Path(ctx); err != nil { // It must know of a pooler before the first transaction.
		return err
	}
	checkCtx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	if err := db.CheckSchema(checkCtx); err != nil {
		return err
	}
	if !flags.dryRun {
		err := db.CheckEraseRights(checkCtx)
		if _, lacking := errors.AsType[*store.RightsError](err); lacking {
			return permanent(fmt.Errorf("nothing was erased: %w", err))
		}
		if err != nil {
			return err
		}
	}
	plan, err := erasure.Find(ctx, db, person)
	_, several := errors.AsType[*erasure.SeveralError](err)
	if _, none := errors.AsType[erasure.NoContactError](err); none || several {
		return permanent(err)
	}
	if err != nil {
		return err
	}
	report := newErasureReport(plan)
	if flags.dryRun || plan.Empty() {
		report.DryRun = flags.dryRun
		return report.write(out, flags.output)
	}
	if !flags.yes {
		report.DryRun = true
		if err := report.write(c.out, "text"); err != nil {
			return err
		}
		if !c.given(ctx) {
			return permanent(errors.New("nothing was erased: it was not confirmed"))
		}
		report.DryRun = false
	}
	outcome, err := erasure.Erase(ctx, db, plan)
	report.done(outcome)
	if err != nil {
		report.Failed = true
		return errors.Join(report.write(out, flags.output),
			fmt.Errorf("%d events were erased, then: %w; run it again to erase the rest", outcome.Events, err))
	}
	return report.write(out, flags.output)
}

// confirmation asks the person at the terminal.
type confirmation struct {
	in  io.Reader
	out io.Writer
}

// possible reports whether there is a terminal.
func (c confirmation) possible() bool {
	file, ok := c.in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// given asks, and reports whether the answer is yes. An interrupt means no.
func (c confirmation) given(ctx context.Context) bool {
	const word = "erase"
	fmt.Fprintf(c.out, "\nThis cannot be undone. Type %s to continue: ", word)
	answer := make(chan bool, 1)
	go func() {
		line, err := bufio.NewReader(c.in).ReadString('\n')
		answer <- (err == nil || errors.Is(err, io.EOF)) && strings.TrimSpace(line) == word
	}()
	select {
	case yes := <-answer:
		return yes && ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
