package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// show prints what a person came for: where the events stand, and the leads.
func (d *dev) show(ctx context.Context) error {
	table, err := d.Kubectl(ctx, "get", "webhookevents")
	if err != nil {
		return err
	}
	d.print("\n$ kubectl get webhookevents\n%s", table)
	failed, err := d.Kubectl(ctx, "get", "webhookevents", "--field-selector=status.phase=Error",
		"--output=custom-columns=NAME:.metadata.name,MESSAGE:.status.conditions[0].message")
	if err != nil {
		return err
	}
	d.print("\n$ kubectl get webhookevents --field-selector=status.phase=Error # and why\n%s", failed)
	return d.showLeads(ctx)
}

// leadsQuery is the question that users know.
const leadsQuery = `SELECT * FROM leads WHERE ghl_appointment_id IS NOT NULL ORDER BY last_activity_at DESC LIMIT 10`

func (d *dev) showLeads(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.VerityDatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to Verity's database: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, leadsQuery)
	if err != nil {
		return fmt.Errorf("read Verity's leads: %w", err)
	}
	defer rows.Close()
	d.print("\n%s -- in Verity's database\n", leadsQuery)
	table := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	var line []string
	for _, column := range rows.FieldDescriptions() {
		line = append(line, column.Name)
	}
	_, _ = fmt.Fprintln(table, strings.Join(line, "\t"))
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return fmt.Errorf("read Verity's leads: %w", err)
		}
		line = line[:0]
		for _, value := range values {
			line = append(line, cell(value))
		}
		_, _ = fmt.Fprintln(table, strings.Join(line, "\t"))
	}
	return errors.Join(rows.Err(), table.Flush())
}

func cell(value any) string {
	switch value := value.(type) {
	case [16]byte:
		return uuid.UUID(value).String()
	case time.Time:
		return value.UTC().Format(time.DateTime)
	case nil:
		return ""
	default:
		return fmt.Sprint(value)
	}
}

// The values are made here, and none has a quote in it.
var invitation = template.Must(template.New("").Parse(`
Post a webhook, as a workflow does, to {{.WebhookURL}}:

  curl -sS '{{.WebhookURL}}' -H 'Content-Type: application/json' -H 'X-Webhook-Secret: {{.Secret}}' \
    -d '{"contact_id":"dora","email":"dora@example.com","calendar":{"appointmentId":"dora-appointment","appoinmentStatus":"confirmed"}}'

See where events stand:

  export KUBECONFIG='{{.Kubeconfig}}'
  {{.Kubectl}} get webhookevents --watch
  {{.Kubectl}} describe webhookevent NAME

Look into the databases, verity-sync's and Verity's:

  psql '{{.DatabaseURL}}'
  psql '{{.VerityDatabaseURL}}'

Make Verity fail three times; make it accept everything again, including what it refuses; replay an event that ended in Error:

  curl -sS '{{.VerityURL}}/_sim/faults' -d '{"kind":"answer","status":503,"times":3}'
  curl -sS '{{.VerityURL}}/_sim/faults' -X DELETE
  {{.Kubectl}} annotate webhookevent NAME --overwrite webhooks.dfmiddleware.io/replay-requested-at="$(date +%s)"

The logs are in {{.Logs}}, the metrics at {{.Metrics}}.

==> Ctrl-C stops everything and removes it
`))

// invite prints what a user can do next.
func (d *dev) invite() error {
	kubectl := "kubectl"
	if _, err := exec.LookPath(kubectl); err != nil {
		if kubectl, err = system.KubectlPath(); err != nil {
			return err
		}
	}
	var metrics []string
	for _, p := range append(d.Receivers, d.Controllers...) {
		metrics = append(metrics, p.MetricsURL)
	}
	return invitation.Execute(d.out, map[string]string{
		"WebhookURL":        d.Receivers[0].WebhookURL(),
		"Secret":            d.Sender.Secret,
		"Kubeconfig":        d.Kubeconfig,
		"Kubectl":           kubectl,
		"DatabaseURL":       d.DatabaseURL,
		"VerityDatabaseURL": d.VerityDatabaseURL,
		"VerityURL":         d.VerityURL,
		"Logs":              d.Dir,
		"Metrics":           strings.Join(metrics, " "),
	})
}
