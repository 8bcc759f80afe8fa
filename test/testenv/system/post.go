package system

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// An Answer is what a receiver answered, and what the body of that says.
type Answer struct {
	ghlsender.Answer
	ID, Outcome, Error string
}

// Post has Sender post a webhook to a receiver.
func (s *System) Post(ctx context.Context, receiver *Process, w ghlsender.Webhook) (Answer, error) {
	sent, err := s.Sender.Send(ctx, receiver.WebhookURL(), w)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", receiver.Name, err)
	}
	var said struct{ ID, Status, Error string }
	if err := json.Unmarshal(sent.Body, &said); err != nil {
		return Answer{}, fmt.Errorf("%s answered %d with what is no JSON object: %w", receiver.Name, sent.Status, err)
	}
	return Answer{Answer: sent, ID: said.ID, Outcome: said.Status, Error: said.Error}, nil
}
