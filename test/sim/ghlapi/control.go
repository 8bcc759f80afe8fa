package ghlapi

import (
	"encoding/json"
	"net/http"
)

// mountControl adds the control requests for what the simulator knows.
func (s *Server) mountControl(mux *http.ServeMux) {
	mountEntity(mux, "locations", s.Location, s.DeleteLocation, func(id string, l Location) {
		l.ID = id
		s.PutLocation(l)
	})
	mountEntity(mux, "contacts", s.Contact, s.DeleteContact, func(id string, c Contact) {
		c.ID = id
		s.PutContact(c)
	})
	mountEntity(mux, "appointments", s.Appointment, s.DeleteAppointment, func(id string, a Appointment) {
		a.ID = id
		s.PutAppointment(a)
	})
}

func mountEntity[E any](
	mux *http.ServeMux, kind string, get func(id string) (E, bool), forget func(id string), put func(id string, e E),
) {
	at := "/_sim/" + kind + "/{id}"
	mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) {
		e, known := get(r.PathValue("id"))
		if !known {
			http.NotFound(w, r)
			return
		}
		success(e).write(w)
	})
	mux.HandleFunc("DELETE "+at, func(w http.ResponseWriter, r *http.Request) {
		forget(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT "+at, func(w http.ResponseWriter, r *http.Request) {
		var e E
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		put(r.PathValue("id"), e)
		w.WriteHeader(http.StatusNoContent)
	})
}
