//! What a load's headers ask for, checked in the order and with the texts of StarRocks' BE.

use axum::http::HeaderMap;

use super::csv::{CsvFormat, parse_separator};
use super::decompress::Compression;
use super::json::{JsonFormat, parse_path, parse_paths};
use crate::target::Version;

/// The body's format, as the `format` header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
}

/// JSON bodies over this many bytes are refused, by Content-Length, unless `ignore_json_size`.
const MAX_JSON_BYTES: u64 = 100 * 1024 * 1024;
/// Any body: `streaming_load_max_mb`.
const MAX_BODY_BYTES: u64 = 102_400 * 1024 * 1024;

/// The header's text; none when absent or empty, as the BE sees it.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).filter(|text| !text.is_empty())
}

/// Sizes and format: what is checked before the transaction begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preamble {
    format: Format,
    compression: Compression,
    /// Seconds; `None` is the server's default.
    pub(crate) timeout: Option<u32>,
}

impl Preamble {
    /// `earlier_bytes`: what the transaction's earlier loads announced; limits count their sum.
    ///
    /// # Errors
    /// The text for the load's `Message`.
    pub(crate) fn parse(headers: &HeaderMap, earlier_bytes: u64, label: &str) -> Result<Preamble, String> {
        if header(headers, "enable_merge_commit").is_some_and(|text| !text.eq_ignore_ascii_case("false")) {
            return Err("merge commit is not supported by this server".into());
        }
        let bytes = content_length(headers).map_or(0, |bytes| bytes + earlier_bytes);
        if bytes > MAX_BODY_BYTES {
            return Err(format!(
                "body size {bytes} exceed limit: {MAX_BODY_BYTES}, label={label}. You can increase the limit by \
                 setting streaming_load_max_mb in be.conf."
            ));
        }
        let name = header(headers, "format").unwrap_or("csv");
        let (format, compression) = match name.to_ascii_lowercase().as_str() {
            "csv" => (Format::Csv, Compression::None),
            "json" => (Format::Json, Compression::None),
            "gzip" => (Format::Csv, Compression::Gzip),
            "deflate" => (Format::Csv, Compression::Deflate),
            "zstd" => (Format::Csv, Compression::Zstd),
            "bzip2" | "lz4" => return Err(format!("format={name} is not supported by this server")),
            _ => return Err(format!("unknown data format, format={name}")),
        };
        let ignored = header(headers, "ignore_json_size").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if format == Format::Json && !ignored && bytes > MAX_JSON_BYTES {
            return Err(format!(
                "The size of this batch exceed the max size [{MAX_JSON_BYTES}]  of json type data  data [ {bytes} ]. \
                 Set ignore_json_size to skip the check, although it may lead huge memory consuming."
            ));
        }
        Ok(Preamble { format, compression, timeout: timeout(headers, "timeout")? })
    }
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-length")?.parse().ok()
}

/// A header of whole seconds.
///
/// # Errors
/// "Invalid timeout format".
pub(crate) fn timeout(headers: &HeaderMap, name: &str) -> Result<Option<u32>, String> {
    match header(headers, name) {
        None => Ok(None),
        Some(text) => text.trim().parse().map(Some).map_err(|_| "Invalid timeout format".into()),
    }
}

/// Everything else a load's headers say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(super) body: Body,
    pub(super) compression: Compression,
    pub(super) columns: Option<String>,
    pub(super) strict: bool,
    pub(super) max_filter_ratio: f64,
    pub(super) partial_update: bool,
    pub(super) merge_condition: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Csv(CsvFormat),
    Json(JsonFormat),
}

impl Settings {
    pub(crate) fn has_format_of(&self, preamble: &Preamble) -> bool {
        matches!((&self.body, preamble.format), (Body::Csv(_), Format::Csv) | (Body::Json(_), Format::Json))
    }

    /// `transactional`: a load inside a transaction, which does not read the CSV options since 3.0.
    ///
    /// # Errors
    /// The text for the load's `Message`.
    pub(crate) fn parse(
        headers: &HeaderMap,
        preamble: &Preamble,
        version: Version,
        transactional: bool,
    ) -> Result<Settings, String> {
        let text = |name: &str| header(headers, name);
        let flag = |name: &str, refusal: &str| match text(name) {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(refusal.to_owned()),
        };
        if text("partitions").is_some() && text("temporary_partitions").is_some() {
            return Err("Can not specify both partitions and temporary partitions".into());
        }
        for name in ["where", "partitions", "temporary_partitions", "envelope"] {
            if text(name).is_some() {
                return Err(format!("the header {name} is not supported by this server"));
            }
        }
        let strict = flag("strict_mode", "Invalid strict mode format. Must be bool type")?;
        for name in ["load_mem_limit", "exec_mem_limit"] {
            match text(name).map(str::parse::<i64>) {
                None | Some(Ok(0..)) => {}
                Some(Ok(_)) => return Err(format!("{name} must be equal or greater than 0")),
                Some(Err(_)) => return Err("Invalid load mem limit format".into()),
            }
        }
        let partial_update = flag("partial_update", "Invalid partial update flag format. Must be bool type")?;
        match text("log_rejected_record_num").filter(|_| !transactional).map(str::parse::<i64>) {
            None | Some(Ok(-1..)) => {}
            Some(Ok(_)) => return Err("log_rejected_record_num must be equal or greater than -1".into()),
            Some(Err(_)) => return Err("Invalid log_rejected_record_num format".into()),
        }
        let max_filter_ratio = match text("max_filter_ratio") {
            None => 0.0,
            // The BE reads it as C does: what is no number is 0.
            Some(ratio) => ratio.trim().parse().unwrap_or(0.0),
        };
        let compression = compression(headers, preamble, version)?;
        let body = match preamble.format {
            Format::Csv => Body::Csv(csv(headers, transactional)?),
            Format::Json => Body::Json(JsonFormat {
                strip_outer_array: text("strip_outer_array").is_some_and(|value| value.eq_ignore_ascii_case("true")),
                root: text("json_root").map_or(Ok(Vec::new()), parse_path)?,
                paths: text("jsonpaths").map_or(Ok(Vec::new()), parse_paths)?,
            }),
        };
        Ok(Settings {
            body,
            compression,
            columns: text("columns").map(str::to_owned),
            strict,
            max_filter_ratio,
            partial_update,
            merge_condition: text("merge_condition").map(str::to_owned),
        })
    }
}

fn compression(headers: &HeaderMap, preamble: &Preamble, version: Version) -> Result<Compression, String> {
    let (encoding, compression) = (header(headers, "content-encoding"), header(headers, "compression"));
    if encoding.is_some() && compression.is_some() {
        return Err("Only one of http header content-encoding and compression can be set".into());
    }
    let Some(name) = encoding.or(compression) else { return Ok(preamble.compression) };
    // Before 3.2.7 nobody reads these headers; the body then is no valid JSON and fails as such.
    if version < (Version { major: 3, minor: 2, patch: 7 }) {
        return Ok(preamble.compression);
    }
    let found = match name.to_ascii_uppercase().as_str() {
        "GZIP" => Compression::Gzip,
        "ZSTD" => Compression::Zstd,
        "BZIP2" | "LZ4_FRAME" => return Err(format!("compression {name} is not supported by this server")),
        _ => return Err(format!("Unsupported compression type: {name}")),
    };
    match preamble.format {
        Format::Json => Ok(found),
        Format::Csv => Err(format!("Unsupported compression type: {name} for csv, use format={name}")),
    }
}

fn csv(headers: &HeaderMap, transactional: bool) -> Result<CsvFormat, String> {
    let separator = |name: &str, what: &str, default: &[u8]| match headers.get(name) {
        Some(value) if !value.is_empty() => parse_separator(what, value.as_bytes()),
        _ => Ok(default.to_vec()),
    };
    let mut format = CsvFormat {
        separator: separator("column_separator", "column separator", b"\t")?,
        delimiter: separator("row_delimiter", "row delimiter", b"\n")?,
        skip_header: 0,
        trim_space: false,
        enclose: None,
        escape: None,
    };
    if transactional {
        return Ok(format);
    }
    format.skip_header = match header(headers, "skip_header").map(|text| text.trim().parse::<i64>()) {
        None => 0,
        Some(Ok(count @ 0..)) => count.unsigned_abs(),
        Some(Ok(_)) => return Err("skip_header must be equal or greater than 0".into()),
        Some(Err(_)) => return Err("Invalid csv load skip_header format".into()),
    };
    format.trim_space = match header(headers, "trim_space") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err("Invalid trim space format. Must be bool type".into()),
    };
    let first_byte = |name: &str| headers.get(name).and_then(|value| value.as_bytes().first().copied());
    format.enclose = first_byte("enclose");
    format.escape = first_byte("escape");
    Ok(format)
}
