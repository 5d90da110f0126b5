//! A load from its headers to staged rows: settings, plan, and the session that eats the body.
//!
//! ```text
//! headers ──▶ Settings ──▶ Plan ─┐
//! body ──▶ decompress ──▶ CSV or JSON reader ──▶ Session: convert, check, count ──▶ Stage ──▶ apply
//! ```
//!
//! A row that breaks a rule is *filtered*: counted, and its reason written to the error log (50 lines at
//! most). What is wrong with the whole body (a JSON syntax error, a key too long) fails the load. Nothing
//! touches a table before the commit, so a failed load leaves no row.

use std::borrow::Cow;

use self::csv::{CsvFormat, CsvReader, Fields};
use self::decompress::Decompressor;
use self::json::{JsonFormat, JsonReader, extract, for_each_field};
use self::plan::{Op as OpSource, Plan, Source};
use self::refusing::Refusing;
use self::settings::{Body, Settings};
use self::stage::{Op, Stage};
use super::value::{Bad, Cell, check, debug_name, encoded_key_length, from_csv, from_json, from_text, out_of_range};
use crate::Result;

pub(crate) mod apply;
mod columns;
mod csv;
mod decompress;
mod json;
pub(crate) mod plan;
pub(crate) mod refusing;
pub(crate) mod settings;
pub(crate) mod stage;

/// Lines the error log takes; the counter goes on.
const MAX_ERROR_LINES: usize = 50;
/// The longest encoded primary key, `primary_key_limit_size`.
const MAX_KEY_BYTES: usize = 128;

/// What a load counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) loaded: u64,
    pub(crate) filtered: u64,
}

/// One load (or one table's loads in a transaction) under way.
pub(crate) struct Session {
    reader: Reader,
    decompressor: Decompressor,
    rows: Rows,
    failed: Option<String>,
    settings: Settings,
}

enum Reader {
    Csv(Box<CsvReader>),
    Json(JsonReader),
}

/// What every row goes through.
struct Rows {
    plan: Plan,
    stage: Stage,
    counts: Counts,
    errors: Vec<String>,
    refusing: Option<Refusing>,
}

/// Rows ready to be committed.
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    pub(crate) stage: Stage,
}

impl Session {
    /// `refusing`: rows that a fault has filtered.
    ///
    /// # Errors
    /// The text for the load's `Message`.
    pub(crate) fn new(
        settings: Settings,
        plan: Plan,
        stage: Stage,
        refusing: Option<Refusing>,
    ) -> Result<Session, String> {
        let reader = match &settings.body {
            Body::Csv(format) => Reader::Csv(Box::new(CsvReader::new(format.clone()))),
            Body::Json(format) => Reader::Json(JsonReader::new(format.clone())),
        };
        let decompressor = Decompressor::new(settings.compression)?;
        let rows = Rows { plan, stage, counts: Counts::default(), errors: Vec::new(), refusing };
        Ok(Session { reader, decompressor, rows, failed: None, settings })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn counts(&self) -> Counts {
        self.rows.counts
    }

    /// Lines for the error log.
    pub(crate) fn errors(&self) -> &[String] {
        &self.rows.errors
    }

    /// Takes the next piece of the body. A failure is kept for [`Session::verdict`]; the rest is passed over.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let (reader, rows) = (&mut self.reader, &mut self.rows);
        let fed = self.decompressor.feed(chunk, &mut |plain| rows.feed(reader, plain));
        self.keep(fed);
    }

    /// The end of one request's body. A JSON value ends with it; a CSV record goes on in the transaction's
    /// next load.
    pub(crate) fn end_of_body(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let (reader, rows) = (&mut self.reader, &mut self.rows);
        let mut ended = self.decompressor.finish(&mut |plain| rows.feed(reader, plain));
        if ended.is_ok()
            && let Reader::Json(reader) = reader
        {
            ended = reader.finish(&mut |format, row| rows.json_row(format, row));
        }
        self.keep(ended);
        match Decompressor::new(self.settings.compression) {
            Ok(fresh) => self.decompressor = fresh,
            Err(text) => self.keep(Err(text)),
        }
    }

    /// The end of all data: is this load good?
    ///
    /// # Errors
    /// The text for the load's `Message`.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        if self.failed.is_none()
            && let Reader::Csv(reader) = &mut self.reader
        {
            let rows = &mut self.rows;
            let ended = reader.finish(&mut |format, record, fields| rows.csv_row(format, record, fields));
            self.keep(ended);
        }
        if let Some(text) = &self.failed {
            return Err(text.clone());
        }
        let counts = self.rows.counts;
        let selected = counts.loaded + counts.filtered;
        if selected > 0 && counts.filtered as f64 / selected as f64 > self.rows.plan.max_filter_ratio {
            return Err("too many filtered rows".into());
        }
        if counts.loaded == 0 {
            return Err("No partitions have data available for loading. If you are sure there may be no data to be \
                        loaded, you can use `ADMIN SET FRONTEND CONFIG (\"empty_load_as_error\" = \"false\")` to \
                        ensure such load jobs can succeed"
                .into());
        }
        Ok(())
    }

    /// After a good verdict.
    pub(crate) fn into_loaded(self) -> Loaded {
        Loaded { plan: self.rows.plan, stage: self.rows.stage }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.rows.plan
    }

    fn keep(&mut self, result: Result<(), String>) {
        if let Err(text) = result {
            if let Reader::Json(_) = self.reader {
                self.rows.counts.filtered += 1;
                self.rows.log(&text, "");
            }
            self.failed = Some(text);
        }
    }
}

impl Rows {
    fn feed(&mut self, reader: &mut Reader, plain: &[u8]) -> Result<(), String> {
        match reader {
            Reader::Csv(reader) => {
                reader.feed(plain, &mut |format, record, fields| self.csv_row(format, record, fields))
            }
            Reader::Json(reader) => reader.feed(plain, &mut |format, row| self.json_row(format, row)),
        }
    }

    fn log(&mut self, error: &str, row: &str) {
        if self.errors.len() < MAX_ERROR_LINES {
            self.errors.push(format!("Error: {error}. Row: {row}"));
        }
    }

    fn filter(&mut self, error: &str, row: &str) {
        self.counts.filtered += 1;
        self.log(error, row);
    }

    fn csv_row(&mut self, format: &CsvFormat, record: &[u8], fields: &Fields) -> Result<(), String> {
        if fields.len() != self.plan.fields.len() {
            let text = format.wrong_count(self.plan.fields.len(), fields.len());
            self.filter(&text, &String::from_utf8_lossy(record));
            return Ok(());
        }
        if std::str::from_utf8(record).is_err() {
            self.filter("Invalid UTF-8 row", &String::from_utf8_lossy(record));
            return Ok(());
        }
        let plan = &self.plan;
        let field = |at: usize| {
            let bytes = fields.get(record, at);
            if bytes == b"\\N" { None } else { Some(bytes) }
        };
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(plan.sources.len());
        let problem = 'row: {
            for (column, source) in plan.table.columns.iter().zip(&plan.sources) {
                let cell = match source {
                    Source::Constant(cell) => borrowed(cell),
                    Source::Expr(expr) => {
                        let text = |name: &str| {
                            let at = plan.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name))?;
                            field(at).map(Cow::Borrowed)
                        };
                        match computed(plan, column, expr.evaluate(&text, &plan.now)) {
                            Ok(cell) => cell,
                            Err(text) => break 'row Some(text),
                        }
                    }
                    Source::Field(at) => {
                        let converted = match field(*at) {
                            None => Ok(Cell::Null),
                            Some(bytes) if plan.fields[*at].in_expression => from_text(&column.ty, &column.name, bytes),
                            Some(bytes) => from_csv(&column.ty, &column.name, bytes, plan.base64_binary),
                        };
                        match converted {
                            Ok(cell) => cell,
                            Err(Bad::Sink(text)) => break 'row Some(text),
                            Err(Bad::Invalid) if !plan.strict => Cell::Null,
                            Err(Bad::Invalid) => {
                                let bytes = fields.get(record, *at);
                                break 'row Some(format!(
                                    "The field (name = {}, pos = {at}) is out of range. Type: {}, Value length: {}, \
                                     Value: {}",
                                    column.name,
                                    debug_name(&column.ty),
                                    bytes.len(),
                                    String::from_utf8_lossy(bytes)
                                ));
                            }
                        }
                    }
                };
                if let Err(text) = check(&column.ty, &column.name, column.nullable, &cell) {
                    break 'row Some(text);
                }
                cells.push(cell);
            }
            self.refusing.as_ref().and_then(|refusing| refusing.reason(plan, &cells))
        };
        if let Some(text) = problem {
            drop(cells);
            self.filter(&text, &String::from_utf8_lossy(record));
            return Ok(());
        }
        let op = match plan.op {
            OpSource::Upsert => Op::Upsert,
            OpSource::Delete => Op::Delete,
            OpSource::Field(at) => match field(at) {
                None | Some(b"0") => Op::Upsert,
                Some(b"1") => Op::Delete,
                Some(text) => match from_text(&super::types::ColumnType::TinyInt, "__op", text) {
                    Ok(Cell::Int(0)) => Op::Upsert,
                    Ok(_) => Op::Delete,
                    Err(_) if !plan.strict => Op::Upsert,
                    Err(_) => {
                        let text = format!(
                            "The field (name = __op, pos = {at}) is out of range. Type: TINYINT, Value length: {}, \
                             Value: {}",
                            text.len(),
                            String::from_utf8_lossy(text)
                        );
                        drop(cells);
                        self.filter(&text, &String::from_utf8_lossy(record));
                        return Ok(());
                    }
                },
            },
        };
        stage_row(&self.plan, &mut self.stage, op, &cells)?;
        self.counts.loaded += 1;
        Ok(())
    }

    fn json_row(&mut self, format: &JsonFormat, row: &str) -> Result<(), String> {
        let plan = &self.plan;
        let mut values: Vec<Option<&str>> = vec![None; plan.fields.len()];
        if format.paths.is_empty() {
            for_each_field(row, &mut |key, value| {
                if let Some(at) = plan.by_name.get(key) {
                    values[*at] = Some(value);
                }
            })?;
        } else {
            // The whole row must be valid even where no path looks.
            for_each_field(row, &mut |_, _| {})?;
            for (value, path) in values.iter_mut().zip(&format.paths) {
                *value = extract(row, path)?;
            }
        }
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(plan.sources.len());
        let problem = 'row: {
            for (column, source) in plan.table.columns.iter().zip(&plan.sources) {
                let cell = match source {
                    Source::Constant(cell) => borrowed(cell),
                    Source::Expr(expr) => {
                        let text = |name: &str| {
                            let at = plan.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name))?;
                            match from_json(&super::types::ColumnType::Varchar(u32::MAX), name, values[at]?) {
                                Ok(Cell::Text(text)) => Some(text),
                                _ => None,
                            }
                        };
                        match computed(plan, column, expr.evaluate(&text, &plan.now)) {
                            Ok(cell) => cell,
                            Err(text) => break 'row Some(text),
                        }
                    }
                    Source::Field(at) => match values[*at] {
                        None => Cell::Null,
                        Some(raw) => match from_json(&column.ty, &column.name, raw) {
                            Ok(cell) => cell,
                            Err(problem) if problem.sink || plan.strict => break 'row Some(problem.text),
                            Err(_) => Cell::Null,
                        },
                    },
                };
                if let Err(text) = check(&column.ty, &column.name, column.nullable, &cell) {
                    break 'row Some(text);
                }
                cells.push(cell);
            }
            self.refusing.as_ref().and_then(|refusing| refusing.reason(plan, &cells))
        };
        let op = match plan.op {
            OpSource::Upsert => Ok(Op::Upsert),
            OpSource::Delete => Ok(Op::Delete),
            OpSource::Field(at) => {
                match values[at].map(|raw| from_json(&super::types::ColumnType::TinyInt, "__op", raw)) {
                    None | Some(Ok(Cell::Null | Cell::Int(0))) => Ok(Op::Upsert),
                    Some(Ok(_)) => Ok(Op::Delete),
                    Some(Err(problem)) if plan.strict => Err(problem.text),
                    Some(Err(_)) => Ok(Op::Upsert),
                }
            }
        };
        let op = match (problem, op) {
            (Some(text), _) | (None, Err(text)) => {
                drop(cells);
                self.filter(&text, row);
                return Ok(());
            }
            (None, Ok(op)) => op,
        };
        stage_row(&self.plan, &mut self.stage, op, &cells)?;
        self.counts.loaded += 1;
        Ok(())
    }
}

/// The result of an expression in its column's type.
fn computed<'a>(
    plan: &Plan,
    column: &super::catalog::ColumnDef,
    value: Option<Cow<'a, [u8]>>,
) -> Result<Cell<'a>, String> {
    let Some(text) = value else { return Ok(Cell::Null) };
    let cell = match &text {
        Cow::Borrowed(text) => from_text(&column.ty, &column.name, text),
        Cow::Owned(text) => from_text(&column.ty, &column.name, text).map(Cell::into_owned),
    };
    match cell {
        Ok(cell) => Ok(cell),
        Err(Bad::Sink(text)) => Err(text),
        Err(Bad::Invalid) if plan.strict => {
            Err(out_of_range(&column.ty, &column.name, &String::from_utf8_lossy(&text)))
        }
        Err(Bad::Invalid) => Ok(Cell::Null),
    }
}

fn borrowed<'a>(cell: &'a Cell<'static>) -> Cell<'a> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Int(value) => Cell::Int(*value),
        Cell::Real(value) => Cell::Real(*value),
        Cell::Text(text) => Cell::Text(Cow::Borrowed(text)),
        Cell::Blob(bytes) => Cell::Blob(Cow::Borrowed(bytes)),
    }
}

fn stage_row(plan: &Plan, stage: &mut Stage, op: Op, cells: &[Cell<'_>]) -> Result<(), String> {
    let keys = plan.table.key_columns;
    if plan.table.model == super::catalog::Model::Primary {
        let mut length = 0;
        for (at, (column, cell)) in plan.table.columns.iter().zip(&cells[..keys]).enumerate() {
            length += encoded_key_length(&column.ty, cell, at + 1 == keys);
        }
        if length > MAX_KEY_BYTES {
            return Err("primary key size exceed the limit.".into());
        }
    }
    if op == Op::Delete
        && let Some(at) = plan.merge_condition
    {
        let column = &plan.table.columns[at].name;
        return Err(format!("memtable of tablet {} delete with condition column {column}", plan.table.id));
    }
    let staged = match op {
        Op::Upsert => stage.push(op, cells.iter()),
        Op::Delete => stage.push(op, cells[..keys].iter()),
    };
    staged.map_err(|error| error.to_string())
}
