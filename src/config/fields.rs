//! Every key of the job file, once: its shape, default and meaning. From this table come the reader's
//! checks and defaults, the list of known keys in its messages, the JSON Schema and the README's table.

use serde_json::{Map, Value, json};

/// One key of the job file.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) default: Default,
    pub(super) doc: &'static str,
}

/// What a key's value may be.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    /// Text that no message shows.
    Secret,
    /// A whole number in this range, ends included.
    Integer(u64, u64),
    /// A number in this range; fractions allowed.
    Number(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts, not empty where `true`; a single text is taken as a list of one.
    Texts(bool),
    /// Keys of the user's choice with texts; numbers and booleans are taken as texts.
    TextMap,
    Group(&'static [Field]),
    /// `initial`, …, or `{file, position}`, `{gtid}`, `{timestamp}`.
    Startup,
    /// Null, `error`, or a date.
    ZeroDate,
}

#[derive(Debug)]
pub(super) enum Default {
    /// It must be there.
    Required,
    /// Absent, and the doc says what that means.
    None,
    Text(&'static str),
    Integer(u64),
    Flag(bool),
}

const fn field(key: &'static str, shape: Shape, default: Default, doc: &'static str) -> Field {
    Field { key, shape, default, doc }
}

/// Sizes in rows, slots and MB have an upper end too, so that a slip of the keyboard is told and not tried.
const ROWS: Shape = Shape::Integer(1, 100_000_000);
const SLOTS: Shape = Shape::Integer(1, 16_777_216);

pub(super) static STARTUP_WORDS: &[&str] = &["initial", "full", "latest", "earliest"];

pub(super) static JOB: &[Field] = &[
    field(
        "name",
        Shape::Text,
        Default::Required,
        "Name of the job: letters, digits, `_` and `-`, at most 40. It is part of every load's label and names the state file.",
    ),
    field(
        "stateDir",
        Shape::Text,
        Default::Text("./towpath-state"),
        "Folder for the job's state (one SQLite file a job), relative to the folder Towpath is started in.",
    ),
    field("source", Shape::Group(SOURCE), Default::Required, "The MySQL or MariaDB server to read."),
    field("target", Shape::Group(TARGET), Default::Required, "Where the tables go."),
    field("params", Shape::Group(PARAMS), Default::None, "Sizes, pauses and limits, with CloudCanal's names."),
    field("ddl", Shape::Group(DDL), Default::None, "What becomes of each kind of DDL on the job's tables."),
    field(
        "strategyOnError",
        Shape::Word(&["exit", "batchDirtyData"]),
        Default::Text("exit"),
        "What a row does that the target refuses or cannot hold: `exit` stops the job and names it; `batchDirtyData` sets it aside as a dead letter and loads the others.",
    ),
    field(
        "maxDeadLetters",
        Shape::Integer(0, 100_000_000),
        Default::Integer(10_000),
        "Dead letters that wait to be settled; more stop the job. As many settled ones are kept, the newest. 0 = no limit.",
    ),
    field(
        "atomicTransactions",
        Shape::Flag,
        Default::Flag(false),
        "`true`: all tables of a flush become visible at one moment, so that readers see whole transactions of the source or nothing of \
         them. StarRocks 4.0 or later, tables of one database.",
    ),
    field(
        "defaultZeroDate",
        Shape::ZeroDate,
        Default::None,
        "What is written for `0000-00-00` and dates with a zero month or day: null (the default), a date `YYYY-MM-DD`, or `error`.",
    ),
    field(
        "noKeyTables",
        Shape::Word(&["uniqueKey", "rowHash", "skip", "error"]),
        Default::Text("uniqueKey"),
        "Tables without a primary key: `uniqueKey` uses a unique key whose columns are all NOT NULL (none: an error); `rowHash` does so too, \
         and without one makes a key of a hash of the row and a number; `skip` leaves them out, until one is dropped and created \
         again with a key; `error` refuses them.",
    ),
    field("http", Shape::Group(HTTP), Default::None, "Metrics, health and status over HTTP."),
    field("verify", Shape::Group(VERIFY), Default::None, "Comparisons of both sides that the job makes by itself."),
];

static SOURCE: &[Field] = &[
    field(
        "type",
        Shape::Word(&["mysql", "mariadb"]),
        Default::None,
        "`mysql` or `mariadb`; found out from the server when absent, checked against it when given.",
    ),
    field("host", Shape::Text, Default::None, "Host name or address of the source. Absent: `hosts`, or `127.0.0.1`."),
    field("port", Shape::Integer(1, 65_535), Default::Integer(3306), "Port of the source."),
    field(
        "hosts",
        Shape::Texts(true),
        Default::None,
        "Instead of `host`: servers of one replication group, as `host` or `host:port`, tried in order. With GTIDs the job goes on \
         at another of them when one fails.",
    ),
    field("username", Shape::Text, Default::Required, "User at the source."),
    field("password", Shape::Secret, Default::Text(""), "The user's password; better `${NAME}` or `passwordFile`."),
    field("passwordFile", Shape::Text, Default::None, "File that holds the password; its final newline is left out."),
    field("tls", Shape::Group(TLS), Default::None, "Encryption of the connection to the source."),
    field(
        "tables",
        Shape::Texts(true),
        Default::Required,
        "Patterns over `database.table`: `*`, `?`, `[a-z]`, `{a,b}`; `*` does not cross the dot.",
    ),
    field("excludeTables", Shape::Texts(false), Default::None, "Patterns of tables to leave out of `tables`."),
    field(
        "shadowTables",
        Shape::Texts(false),
        Default::None,
        "Names of the tables that online schema-change tools make, `*` for the real table's name. They are not replicated; when \
         one takes the place of its table, that table's columns change. Absent: `_*_gho`, `_*_ghc`, `_*_del` (gh-ost), `_*_new`, \
         `_*_old` (pt-online-schema-change); `[]`: none.",
    ),
    field(
        "timezone",
        Shape::Text,
        Default::None,
        "Zone in which TIMESTAMP values are written: `+02:00` or `Europe/Berlin`. Absent: the source server's.",
    ),
    field(
        "startup",
        Shape::Startup,
        Default::Text("initial"),
        "Where a job without a checkpoint begins: `initial` (schema, full data, then the binlog from before it), `full` (schema and \
         full data, then done), `latest`, `earliest`, `{file, position}`, `{gtid}` or `{timestamp}`.",
    ),
    field(
        "serverId",
        Shape::Integer(1, u32::MAX as u64),
        Default::None,
        "Replica id that the job shows the source; no other replica may have it. Absent: made from the job's name.",
    ),
];

static TLS: &[Field] = &[
    field(
        "mode",
        Shape::Word(&["disabled", "preferred", "required", "verify_ca", "verify_identity"]),
        Default::Text("preferred"),
        "As MySQL's `--ssl-mode`.",
    ),
    field(
        "ca",
        Shape::Text,
        Default::None,
        "PEM file with the certificates to trust, for `verify_ca` and `verify_identity`. Absent: the public ones.",
    ),
    field("cert", Shape::Text, Default::None, "PEM file with the client's certificate; goes with `key`."),
    field("key", Shape::Text, Default::None, "PEM file with the client's private key; goes with `cert`."),
];

static TARGET: &[Field] = &[
    field(
        "type",
        Shape::Word(&["starrocks", "embedded"]),
        Default::Text("starrocks"),
        "`starrocks`, or `embedded`: the built-in StarRocks-compatible server, which `run` starts.",
    ),
    field(
        "clientAddress",
        Shape::Texts(true),
        Default::Text("127.0.0.1:9030"),
        "`host:port` of the FE's MySQL port, or a list of several FEs', of which the first that works is used.",
    ),
    field(
        "httpAddress",
        Shape::Texts(true),
        Default::Text("127.0.0.1:8030"),
        "`host:port` of the FE's HTTP port, or a list of several, of which the first that works is used. A BE's address works too, but only an FE tells what became of a load after a crash.",
    ),
    field("username", Shape::Text, Default::Text("root"), "User at the target."),
    field("password", Shape::Secret, Default::Text(""), "The user's password; better `${NAME}` or `passwordFile`."),
    field("passwordFile", Shape::Text, Default::None, "File that holds the password; its final newline is left out."),
    field("loadProps", Shape::TextMap, Default::None, "Stream Load headers added to every load, such as `timeout`."),
    field(
        "tableProperties",
        Shape::TextMap,
        Default::None,
        "PROPERTIES of the tables that Towpath creates, such as `replication_num`.",
    ),
    field(
        "hostMap",
        Shape::TextMap,
        Default::None,
        "`host:port` of a BE as the FE names it, to the `host:port` to use instead (NAT, containers).",
    ),
    field(
        "databases",
        Shape::TextMap,
        Default::None,
        "Source database to target database; those not named keep their name.",
    ),
    field("dataDir", Shape::Text, Default::Text("./towpath-target"), "Only for `embedded`: the folder of its data."),
];

pub(super) static PARAMS: &[Field] = &[
    field(
        "realFlushPauseSec",
        Shape::Number(0, 3600),
        Default::Integer(10),
        "Seconds between two flushes, fractions allowed; 0 = as soon as the last epoch is in.",
    ),
    field("increBatchSize", ROWS, Default::Integer(50_000), "Rows (the last write per key) that close an epoch early."),
    field("increRingBufferSize", SLOTS, Default::Integer(4096), "Slots of the ring between binlog reader and flusher."),
    field("fullBatchSize", ROWS, Default::Integer(50_000), "Rows in one chunk of full data."),
    field(
        "fullRingBufferSize",
        SLOTS,
        Default::Integer(1024),
        "Slots of the ring between full data's readers and loaders.",
    ),
    field(
        "fullParallel",
        Shape::Integer(1, 64),
        Default::Integer(4),
        "Chunks of full data read at once, within and across tables.",
    ),
    field("writeParallel", Shape::Integer(1, 64), Default::Integer(4), "Loads sent at once; never two of one table."),
    field(
        "flushBatchMb",
        Shape::Integer(1, 1024),
        Default::Integer(32),
        "MB of one load's body; a larger part of a table is split.",
    ),
    field(
        "totalDataInMemMb",
        Shape::Integer(8, 1_048_576),
        Default::Integer(128),
        "MB of all events and bodies in memory. At least `flushBatchMb`.",
    ),
    field(
        "rateLimitRps",
        Shape::Integer(0, 1_000_000_000),
        Default::Integer(0),
        "Rows a second that full data reads at most, and, apart from it, the binlog; 0 = no limit.",
    ),
    field(
        "rateLimitMbps",
        Shape::Number(0, 1_000_000),
        Default::Integer(0),
        "MB a second likewise, fractions allowed; 0 = no limit.",
    ),
    field(
        "retryCount",
        Shape::Integer(0, u32::MAX as u64),
        Default::Integer(0),
        "Tries of one load after transient failures before the job stops; 0 = no limit.",
    ),
    field(
        "retryWaitTimeMs",
        Shape::Integer(1, 60_000),
        Default::Integer(500),
        "First pause between two tries, of a load or a connection, in milliseconds; it doubles, up to a minute.",
    ),
    field(
        "soTimeoutSec",
        Shape::Integer(1, 86_400),
        Default::Integer(60),
        "Seconds for a statement at the target, for its first answer to a load, and in which it must take more of a load's body; and \
         after which a source that sends nothing, not even a heartbeat, counts as lost.",
    ),
    field(
        "httpSoTimeoutSec",
        Shape::Integer(1, 259_200),
        Default::Integer(600),
        "Seconds for one load, waiting for publish included; sent as the load's `timeout`.",
    ),
    field(
        "alterTimeoutSec",
        Shape::Integer(1, 2_592_000),
        Default::Integer(86_400),
        "Seconds for one schema change at the target, which may have to rewrite a table.",
    ),
];

static HTTP: &[Field] = &[
    field(
        "listen",
        Shape::Text,
        Default::None,
        "`host:port` of the HTTP server: `/metrics`, `/healthz`, `/readyz`, `/status`. Absent: none. Beyond loopback it needs a token.",
    ),
    field(
        "token",
        Shape::Secret,
        Default::Text(""),
        "`/metrics` and `/status` ask for `Authorization: Bearer` with this; better `${NAME}` or `tokenFile`.",
    ),
    field("tokenFile", Shape::Text, Default::None, "File that holds the token; its final newline is left out."),
    field(
        "maxDelaySec",
        Shape::Number(0, 86_400),
        Default::Integer(60),
        "`/readyz` fails when the oldest change that is not in the target, or the source's silence, is older than this.",
    ),
];

static VERIFY: &[Field] = &[
    field(
        "cron",
        Shape::Text,
        Default::None,
        "When the job compares both sides by itself, as `towpath verify` does: minute, hour, day of the month, month, day of the week; \
         `0 3 * * *` is every day at three. Absent: never. A time at which the last comparison still runs is left out, and so is one at \
         which the job is down.",
    ),
    field(
        "timezone",
        Shape::Text,
        Default::None,
        "Zone of `cron`: `Europe/Berlin` or `+02:00`. Absent: this machine's (UTC in most containers).",
    ),
    field(
        "autoCorrect",
        Shape::Flag,
        Default::Flag(false),
        "`true`: what was found is mended as by `towpath correct`. More than 1 % of a table's rows are not deleted: the log says so, and \
         somebody has to look.",
    ),
    field(
        "tables",
        Shape::Texts(true),
        Default::None,
        "Patterns of the tables to compare, as in `source.tables`. Absent: all of the job's.",
    ),
    field("sample", Shape::Text, Default::None, "Only about this share of the rows, spread over each table: `1%`."),
    field(
        "rateLimit",
        Shape::Integer(0, 1_000_000_000),
        Default::Integer(50_000),
        "Rows of the source a second that are compared at most; 0 = no limit.",
    ),
    field(
        "floatDigits",
        Shape::Integer(1, 17),
        Default::None,
        "Compare FLOAT and DOUBLE by so many significant digits. Absent: by their bits.",
    ),
    field(
        "timeDigits",
        Shape::Integer(0, 6),
        Default::None,
        "Compare times by so many digits of the second's fraction. Absent: by all.",
    ),
    field("emptyEqualsNull", Shape::Flag, Default::Flag(false), "`true`: an empty text is taken for a NULL."),
    field(
        "sourceHost",
        Shape::Text,
        Default::None,
        "A replica of the source to read from, `host` or `host:port`. It needs GTIDs.",
    ),
];

static DDL_WORDS: &[&str] = &["apply", "ignore", "warn", "error"];

static DDL: &[Field] = &[
    field(
        "default",
        Shape::Word(DDL_WORDS),
        Default::Text("apply"),
        "For the kinds that are not named: `apply` changes the target likewise, `ignore` leaves it as it is and goes on, `warn` does so with \
         a line in the log, `error` stops the job before the statement.",
    ),
    field(
        "createTable",
        Shape::Word(DDL_WORDS),
        Default::None,
        "CREATE TABLE. Not applied: the table's rows are not replicated.",
    ),
    field(
        "dropTable",
        Shape::Word(DDL_WORDS),
        Default::None,
        "DROP TABLE, and a rename out of the job's tables. Absent: `ignore`, so that the target keeps the rows; `warn` or `error` if \
         `default` says so.",
    ),
    field("truncateTable", Shape::Word(DDL_WORDS), Default::None, "TRUNCATE TABLE."),
    field(
        "renameTable",
        Shape::Word(DDL_WORDS),
        Default::None,
        "RENAME TABLE within the job's tables. Not applied: the target's table keeps its name.",
    ),
    field("addColumn", Shape::Word(DDL_WORDS), Default::None, "Not applied: the column is left out."),
    field(
        "dropColumn",
        Shape::Word(DDL_WORDS),
        Default::None,
        "Not applied: the target's column gets its default, or NULL, in rows that change.",
    ),
    field("renameColumn", Shape::Word(DDL_WORDS), Default::None, "Not applied: the target's column keeps its name."),
    field(
        "modifyColumn",
        Shape::Word(DDL_WORDS),
        Default::None,
        "Another type, NULL, DEFAULT or COMMENT. Not applied: values that the target's column cannot hold go by `strategyOnError`.",
    ),
    field(
        "onImpossible",
        Shape::Word(&["error", "recopy"]),
        Default::Text("error"),
        "A change to be applied that the target cannot do (INT to DECIMAL, another key), or that changes rows without telling the log: `error` \
         stops the job before the statement, `recopy` copies the table anew beside the one that serves, which then gives way to it.",
    ),
];

/// The JSON Schema of the job file, with every default.
pub fn json_schema() -> Value {
    let mut schema = group_schema(JOB);
    let mut root = Map::new();
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("Towpath job file"));
    if let Some(members) = schema.as_object_mut() {
        root.append(members);
    }
    Value::Object(root)
}

fn group_schema(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|field| (field.key.to_owned(), field.schema())).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| matches!(field.default, Default::Required)).map(|field| field.key).collect();
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

impl Field {
    fn schema(&self) -> Value {
        // Any value may come from the environment: `${NAME}`.
        let variable = json!({"type": "string", "pattern": "\\$\\{"});
        let mut schema = match &self.shape {
            Shape::Text | Shape::Secret => json!({"type": "string"}),
            Shape::Integer(low, high) => {
                json!({"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, variable]})
            }
            Shape::Number(low, high) => {
                json!({"anyOf": [{"type": "number", "minimum": low, "maximum": high}, variable]})
            }
            Shape::Flag => json!({"anyOf": [{"type": "boolean"}, variable]}),
            Shape::Word(words) => json!({"anyOf": [{"enum": words}, variable]}),
            Shape::Texts(needed) => json!({"anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": u8::from(*needed)},
            ]}),
            Shape::TextMap => {
                json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
            }
            Shape::Group(fields) => group_schema(fields),
            Shape::Startup => json!({"anyOf": [
                {"enum": STARTUP_WORDS},
                one_of_keys(&[("file", json!({"type": "string"})), ("position", json!({"type": "integer", "minimum": 4}))]),
                one_of_keys(&[("gtid", json!({"type": "string"}))]),
                one_of_keys(&[("timestamp", json!({"type": "string"}))]),
                variable,
            ]}),
            Shape::ZeroDate => json!({"anyOf": [
                {"type": "null"}, {"const": "error"}, {"type": "string", "format": "date"}, variable,
            ]}),
        };
        schema["description"] = json!(self.doc);
        match self.default {
            Default::Required | Default::None => {}
            Default::Text(text) => schema["default"] = json!(text),
            Default::Integer(number) => schema["default"] = json!(number),
            Default::Flag(flag) => schema["default"] = json!(flag),
        }
        if matches!(self.shape, Shape::ZeroDate) {
            schema["default"] = Value::Null;
        }
        schema
    }
}

fn one_of_keys(keys: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = keys.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({"type": "object", "additionalProperties": false, "required": names, "properties": properties})
}

/// The README's table of all keys, as Markdown; a test compares the two.
#[cfg(test)]
pub(super) fn markdown_table() -> String {
    let mut lines = vec!["| Key | Default | Meaning |".to_owned(), "|---|---|---|".to_owned()];
    markdown_rows(JOB, "", &mut lines);
    lines.join("\n") + "\n"
}

#[cfg(test)]
fn markdown_rows(fields: &[Field], prefix: &str, lines: &mut Vec<String>) {
    for field in fields {
        let path = format!("{prefix}{}", field.key);
        match &field.shape {
            Shape::Group(fields) => markdown_rows(fields, &format!("{path}."), lines),
            _ => {
                let default = match field.default {
                    Default::Required => "needed".to_owned(),
                    Default::None => String::new(),
                    Default::Text("") => "`''`".to_owned(),
                    Default::Text(text) => format!("`{text}`"),
                    Default::Integer(number) => format!("`{number}`"),
                    Default::Flag(flag) => format!("`{flag}`"),
                };
                lines.push(format!("| `{path}` | {default} | {} |", field.doc));
            }
        }
    }
}
