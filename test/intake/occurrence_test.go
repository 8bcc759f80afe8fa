package intake_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// reply is an SMS of a contact as a workflow reports it: the contact, with a message beside it.
func reply(contact, text string) ghlsender.Webhook {
	w := middleware.Sender.WorkflowContact(ghlsender.Contact{ID: contact, FirstName: "Zoë", Phone: "+12025550142"}, nil)
	var body map[string]any
	if err := json.Unmarshal(w.Body, &body); err != nil {
		panic(err) // The sender's own body.
	}
	body["message"] = map[string]any{"type": 2, "body": text}
	var err error
	if w.Body, err = json.Marshal(body); err != nil {
		panic(err)
	}
	return w
}

func TestEqualRepliesAreSeveralEvents(t *testing.T) {
	t.Parallel()
	contact := ghlsender.NewID()
	for name, w := range map[string]ghlsender.Webhook{
		"as the trigger reports them": reply(contact, "Yes"),
		"of a type in the custom data": middleware.Sender.WorkflowContact(ghlsender.Contact{ID: contact},
			map[string]string{"type": "message.inbound", "text": "Yes"}),
		"rebuilt in the custom data": middleware.Sender.WorkflowContact(ghlsender.Contact{ID: contact}, map[string]string{"message": "Yes"}),
		"of a type and nothing more": {Body: []byte(`{"type":"InboundMessage","phone":"+12025550142","body":"Yes"}`), ContentType: asJSON},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ids []string
			for i := range 4 {
				answer := post(t, middleware.Receivers[i%2], w)
				assert.Equal(t, "accepted", answer.Outcome)
				ids = append(ids, answer.ID)
			}
			require.Len(t, ids, 4)
			requireDoneOnce(t, ids...)
		})
	}
}
