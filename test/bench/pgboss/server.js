// The flow that verity-sync replaces, as a baseline of the benchmarks: a route on Node that stores a webhook and sends a job to
// pg-boss, and a worker in the same process that forwards the webhook and writes the lead. The architecture is the legacy middleware's: look
// whether the payload was seen, insert, send, each a round trip of its own. What it was slow for besides, a cron job that drained ten
// events every five minutes on one connection, is left out: pools are sized, statements are prepared, jobs are fetched in batches.
import crypto from "node:crypto";
import http from "node:http";
import pg from "pg";
import PgBoss from "pg-boss";

const QUEUE = "webhook-events";
const POOL_SIZE = 32;
const BODY_LIMIT = 1 << 20;
// pg-boss asks for jobs every half second at most: a batch is what can be had in that time.
const WORKERS = 4;
const BATCH = 200;
const POLLING_SECONDS = 0.5;

const { DATABASE_URL, VERITY_DATABASE_URL, VERITY_BASE_URL, VERITY_WEBHOOK_SECRET, GHL_WEBHOOK_PUBLIC_KEYS, LISTEN_ADDRESS, WORK } =
  process.env;

const key = crypto.createPublicKey({ key: Buffer.from(GHL_WEBHOOK_PUBLIC_KEYS, "base64"), format: "der", type: "spki" });
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: POOL_SIZE });
const verity = new pg.Pool({ connectionString: VERITY_DATABASE_URL, max: POOL_SIZE });
const boss = new PgBoss({ connectionString: DATABASE_URL, max: POOL_SIZE });
boss.on("error", (error) => console.error("pg-boss:", error.message));

const query = (on, name, text, values) => on.query({ name, text, values });

function answer(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw new Error("the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function store(body, raw) {
  const dedupeKey = "ghl:" + crypto.createHash("sha256").update(raw).digest("hex");
  const known = await query(pool, "known", "SELECT id FROM webhook_events WHERE dedupe_key = $1", [dedupeKey]);
  if (known.rowCount > 0) return { id: known.rows[0].id, status: "duplicate" };
  const { id: entity, contactId: contact } = body.appointment;
  const inserted = await query(
    pool,
    "insert",
    `INSERT INTO webhook_events (source, event_type, entity_type, entity_id, payload_json, dedupe_key)
     VALUES ('ghl', 'appointment.created', 'appointment', $1, $2, $3) RETURNING id`,
    [entity, raw.toString("utf8"), dedupeKey],
  );
  const { id } = inserted.rows[0];
  await boss.send(QUEUE, { id, entity, contact });
  return { id, status: "accepted" };
}

async function receive(request, response) {
  const raw = await readBody(request);
  const signature = Buffer.from(request.headers["x-ghl-signature"] ?? "", "base64");
  if (!crypto.verify(null, raw, key, signature)) return answer(response, 401, { error: "no valid signature" });
  return answer(response, 200, await store(JSON.parse(raw.toString("utf8")), raw));
}

async function work({ data: { id, entity, contact } }) {
  const event = await query(
    pool,
    "load",
    `SELECT e.payload_json::text AS payload, m.phone_number AS phone
     FROM webhook_events e LEFT JOIN contact_mappings m ON m.ghl_contact_id = $2 WHERE e.id = $1`,
    [id, contact],
  );
  const { payload, phone } = event.rows[0];
  await forward(id, payload);
  const found = await query(verity, "contact", "SELECT id FROM contacts WHERE phone_e164 = $1 ORDER BY id LIMIT 1", [phone]);
  const target = found.rows[0].id;
  const updated = await query(
    verity,
    "update",
    "UPDATE leads SET ghl_appointment_id = $2, last_activity_at = now() WHERE contact_id = $1",
    [target, entity],
  );
  if (updated.rowCount === 0) {
    await query(
      verity,
      "lead",
      "INSERT INTO leads (contact_id, ghl_appointment_id, last_activity_at) VALUES ($1, $2, now())",
      [target, entity],
    );
  }
  await query(
    pool,
    "log",
    `INSERT INTO sync_log (direction, entity_type, entity_id, source_id, target_id, status, started_at, finished_at, correlation_id)
     VALUES ('ghl_to_verity', 'appointment', $1, $1, $2, 'success', now(), now(), $3)`,
    [entity, target, id],
  );
  await query(pool, "done", "UPDATE webhook_events SET status = 'done', processed_at = now() WHERE id = $1", [id]);
}

const agent = new http.Agent({ keepAlive: true, maxSockets: POOL_SIZE });
const target = new URL("/api/integrations/ghl/webhook", VERITY_BASE_URL);

// forward uses node:http, which costs less than fetch.
function forward(id, payload) {
  return new Promise((resolve, reject) => {
    const request = http.request(target, {
      method: "POST",
      agent,
      timeout: 30_000,
      headers: {
        "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(payload),
        "Idempotency-Key": id,
        "X-Middleware-Forwarded": "true",
        "X-Middleware-Secret": VERITY_WEBHOOK_SECRET,
      },
    });
    request.on("timeout", () => request.destroy(new Error("Verity does not answer")));
    request.on("error", reject);
    request.on("response", (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(`Verity answered ${response.statusCode}`))));
    });
    request.end(payload);
  });
}

await boss.start();
await boss.createQueue(QUEUE);
if (WORK === "true") {
  for (let i = 0; i < WORKERS; i++) {
    await boss.work(QUEUE, { batchSize: BATCH, pollingIntervalSeconds: POLLING_SECONDS }, (jobs) => Promise.all(jobs.map(work)));
  }
}

const server = http.createServer((request, response) => {
  if (request.url === "/readyz") return answer(response, 200, {});
  if (request.method !== "POST" || request.url !== "/api/webhooks/ghl") return answer(response, 404, { error: "not found" });
  return receive(request, response).catch((error) => {
    console.error(error.message);
    answer(response, 500, { error: "not stored" });
  });
});
const [host, port] = LISTEN_ADDRESS.split(":");
server.listen(Number(port), host);
process.on("SIGTERM", () => process.exit(0));
