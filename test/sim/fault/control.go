package fault

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

// ServeHTTP is the control endpoint that a simulator mounts, as a rule at /_sim/faults: GET lists the faults that are
// still to happen, POST adds one (a JSON Fault) or several (an array), DELETE clears the script.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Pending())
	case http.MethodPost:
		faults, err := decode(r)
		if err == nil {
			err = s.Add(faults...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		s.Clear()
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// decode reads one fault or an array of them; a misspelt field is an error, so that no fault is milder than it was meant.
func decode(r *http.Request) ([]Fault, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	faults := make([]Fault, 1)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		err = dec.Decode(&faults)
	} else {
		err = dec.Decode(&faults[0])
	}
	return faults, err
}
