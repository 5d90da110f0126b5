//! The job file: YAML or JSON, one model.
//!
//! ```text
//! text ──document──▶ tree with lines ──reader──▶ checked values ──load──▶ Job
//!                                      fields: every key, its shape, range, default and meaning
//! ```
//!
//! The table in `fields` is the only list of keys. What the reader checks, the JSON Schema and the README's
//! table all come from it. A mistake is a usage error that names file, line, key and remedy; all mistakes of
//! a file are told at once. `${NAME}` is replaced after parsing, so a password never meets YAML's syntax.

mod document;
mod fields;
mod load;
mod model;
mod reader;
mod schedule;
mod setting;
mod shadow_names;
mod table_filter;
mod variables;
mod verify;
pub(crate) mod zone;

#[cfg(test)]
mod tests;

pub use fields::json_schema;
pub use model::{
    Address, Ddl, DdlKind, DdlPolicy, Job, NoKeyTables, OnError, OnImpossible, Params, Password, Source, SourceType,
    Startup, Target, TargetKind, Tls, TlsMode, ZeroDate,
};
pub use schedule::Schedule;
pub use setting::Setting;
pub use shadow_names::ShadowNames;
pub use table_filter::TableFilter;
pub(crate) use table_filter::is_system;
pub use verify::{Verify, share};
