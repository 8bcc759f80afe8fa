// Prints vectors.json: bodies signed by Node's crypto, an implementation of Ed25519 that is not Go's. The key pair is
// made from a fixed seed and is for tests alone.
//
//   node generate.mjs > vectors.json

import { createPrivateKey, createPublicKey, sign } from "node:crypto";

const seed = Buffer.from("verity-sync test key, not secret", "utf8");
const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
const publicKey = createPublicKey(privateKey);
const spki = publicKey.export({ format: "der", type: "spki" });
const raw = spki.subarray(spki.length - 32);

const bodies = {
  "marketplace envelope": JSON.stringify({
    type: "AppointmentCreate",
    locationId: "loc-1",
    appId: "app-1",
    appointment: { id: "apt-1", contactId: "con-1", appointmentStatus: "confirmed" },
    timestamp: "2026-11-07T12:46:45.953Z",
    webhookId: "881b9415-5d35-4ff1-a667-0545b80b96c2",
  }),
  "white space around and inside": ' \r\n{ "type" :\t"ContactUpdate" , "id":"con-1" }\n\n',
  "text beyond ASCII": '{"type":"ContactUpdate","id":"con-1","name":"Zoë تقويم 予約 🎉"}',
  "escapes as sent": '{"type":"ContactUpdate","id":"con-1","name":"Zo\\u00eb \\ud83c\\udf89 \\u0000 \\/"}',
  "key order and duplicate keys": '{"webhookId":"b","id":"2","type":"NoteCreate","id":"1","webhookId":"a"}',
  "byte-order mark": '\ufeff{"type":"INSTALL","appId":"app-1"}',
  "form": "type=ContactUpdate&id=con-1&name=Zo%C3%AB+%F0%9F%8E%89",
  "several kilobytes": JSON.stringify({ type: "NoteCreate", id: "note-1", body: "x".repeat(4096) }),
  "empty": "",
};

console.log(JSON.stringify({
  publicKey: {
    pem: publicKey.export({ format: "pem", type: "spki" }),
    spkiBase64: spki.toString("base64"),
    rawBase64: raw.toString("base64"),
    rawBase64Url: raw.toString("base64url"),
    rawHex: raw.toString("hex"),
  },
  seedBase64: seed.toString("base64"),
  signed: Object.entries(bodies).map(([name, text]) => {
    const body = Buffer.from(text, "utf8");
    return { name, bodyBase64: body.toString("base64"), signature: sign(null, body, privateKey).toString("base64") };
  }),
}, null, 2));
