package ghl

import (
	"bytes"
	"slices"
)

// envelope is the part of a marketplace webhook that only GoHighLevel can write. Decisions that depend on its published key alone use it:
// GoHighLevel signs with that key for every customer, so a customer's fields prove nothing. A key must match exactly, a value must be a
// string, and a workflow's body has no envelope.
type envelope struct {
	// appID is the marketplace app, "" if the body does not say.
	appID string
	// locations are the distinct locations of the body: one, unless it contradicts itself.
	locations []string
	// foreign is true if GoHighLevel does not write such an envelope: it has a workflow's members, a duplicate key, a key with white space
	// around it, or an id that is not a string.
	foreign bool
}

// workflowMembers are the root members of a workflow's body, in which people choose names and values. No marketplace webhook has one.
var workflowMembers = []string{"workflow", "calendar", "customData", "triggerData", "contact_id", "location_id"}

// envelopeOf reads the envelope of a body. It unescapes keys first: "\u006cocationId" is locationId to every reader.
func envelopeOf(b Body) envelope {
	if b.isForm() {
		return envelope{foreign: true}
	}
	var e envelope
	root := e.members(b.Payload, func(name string) bool {
		_, read := wanted[name]
		return read || name == "appId" || slices.Contains(workflowMembers, name)
	})
	for _, name := range workflowMembers {
		e.foreign = e.foreign || given(root[name])
	}
	if block := root["location"]; isObject(block) {
		e.foreign = e.foreign || given(e.members(block, func(name string) bool { return name == "id" })["id"])
	}
	var snapshot map[string][]byte
	if block := root["contactSnapshot"]; isObject(block) {
		snapshot = e.members(block, func(name string) bool { return name == "locationId" })
	}
	e.appID = e.text(root["appId"])
	e.locate(e.text(root["locationId"]))
	if altID := e.text(root["altId"]); is(root["altType"], "location") {
		e.locate(altID)
	}
	e.locate(e.text(snapshot["locationId"]))
	if is(root["type"], "LocationCreate") || is(root["type"], "LocationUpdate") {
		e.locate(e.text(root["id"]))
	}
	return e
}

// members returns the selected members of a JSON object. A duplicate, or a key with white space around it, makes the envelope foreign.
func (e *envelope) members(text []byte, read func(name string) bool) map[string][]byte {
	found := map[string][]byte{}
	if !isObject(text) {
		return found
	}
	eachMember(bytes.TrimSpace(text), func(key, value []byte) {
		trimmed := bytes.TrimSpace(key)
		if !read(string(trimmed)) {
			return
		}
		if _, twice := found[string(trimmed)]; twice || len(trimmed) != len(key) {
			e.foreign = true
		}
		found[string(trimmed)] = value
	})
	return found
}

// text returns a string unchanged. Any other value except null makes the envelope foreign.
func (e *envelope) text(value []byte) string {
	if !given(value) {
		return ""
	}
	if value[0] != '"' {
		e.foreign = true
		return ""
	}
	return unquote(value)
}

func (e *envelope) locate(id string) {
	if id != "" && !slices.Contains(e.locations, id) {
		e.locations = append(e.locations, id)
	}
}

func is(value []byte, word string) bool { return isString(value) && unquote(value) == word }

func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

func isObject(value []byte) bool { return firstByte(value) == '{' }

func given(value []byte) bool { return len(value) > 0 && string(value) != "null" }

// isForm reports whether the body was sent as a form.
func (b Body) isForm() bool {
	return b.Raw != nil && firstByte(bytes.TrimPrefix(b.Raw, byteOrderMark)) != '{'
}

// workflowShaped reports whether people chose the names at the root of the body.
func (b Body) workflowShaped() bool {
	for _, name := range workflowMembers {
		if given(b.root.get(name)) {
			return true
		}
	}
	return b.root.location.get("id") != nil || b.isForm()
}
