//! Row images: the bytes of one row in a rows event.
//!
//! ```text
//! null bitmap, one bit a column, the lowest first | the values of the columns that are not NULL, in table order
//! ```
//!
//! An image may lack columns of the table ([`super::columns`]); then neither the bitmap nor the values know them. A plan
//! is made for one set of columns, and what stands for the others is decided with it ([`Absent`]).
//!
//! A value's length is fixed by the table map, or stands before it in one to four bytes. So the end of a row is found
//! without decoding: [`RowPlan::walk`] runs over a precompiled list of steps and keeps the key's bytes on its way. It
//! is the hottest loop of the product, and most rows it sees are overwritten before anybody decodes them.
//!
//! There are two lists. A row without a NULL takes the *dense* one, in which neighbouring columns of fixed width are
//! one step and no bit is looked at. Any other row takes the *sparse* one, with a step for each column that can be NULL.
//!
//! [`RowPlan::write`] walks once more to note where each column stands, then decodes in the target's order, which
//! differs from the row's because keys come first there.

use super::cell::Cell;
use super::columns::ColumnBits;
use super::filler::Filler;
use super::table_map::TableMap;
use crate::Result;
use crate::mysql::value::{RowError, ValueOptions, ValueWriter};
use crate::schema::Mapping;

/// MySQL's limit of columns in a key.
pub(super) const MAX_KEY_COLUMNS: usize = 32;

/// Columns whose places fit on the stack while a row is written. A wider table costs one allocation a row.
const COLUMNS_ON_STACK: usize = 128;

/// How the images with one set of columns that follow one table map are read, for one target table.
#[derive(Debug, Clone)]
pub struct RowPlan {
    /// Those of the image, in its order.
    columns: Vec<PlanColumn>,
    bitmap_bytes: usize,
    /// Bits of the bitmap's last byte that stand for columns.
    last_byte_mask: u8,
    dense: Vec<Step>,
    sparse: Vec<Step>,
    key_columns: usize,
    key: KeyForm,
    /// Places in `columns`, in the target's order.
    cells: Vec<(u32, Cell)>,
    /// Of every column of the target, where the image lacks some.
    places: Option<Box<[Place]>>,
    /// No place is elsewhere.
    tells_all: bool,
}

/// What stands for a column that an image lacks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    /// The value did not change, or (of a deleted row) is not told.
    Untold,
    /// The column's default: the row is new, and the statement did not name the column.
    Default { mariadb: bool },
}

/// Where a target column's value comes from.
#[derive(Debug, Clone)]
enum Place {
    /// Index into `RowPlan::cells`.
    Here(u32),
    Default(Filler),
    /// Not from this image. A deleted row is written with the filler: its key is all that counts.
    Elsewhere(Filler),
}

/// How the key's parts stand in the row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyForm {
    InKeyOrder,
    Scattered,
    /// Not all of them are there. The bytes of a new row's, which has the columns' defaults.
    Lacking(Vec<(usize, Vec<u8>)>),
}

#[derive(Debug, Clone)]
struct PlanColumn {
    name: String,
    width: Width,
}

/// How long a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fixed(u32),
    /// The value's length stands before it, in so many bytes.
    Prefixed(u8),
}

/// One move of the walk.
#[derive(Debug, Clone, Copy)]
struct Step {
    width: Width,
    /// The column whose bit to look at; `ALWAYS` for a step that no NULL can leave out.
    null_column: u32,
    /// The key part that is kept, or `NO_KEY`.
    key: u32,
}

const ALWAYS: u32 = u32::MAX;
const NO_KEY: u32 = u32::MAX;

/// What an image tells of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Null,
    Value { cell: &'a Cell, column: &'a str, value: &'a [u8] },
    Default(&'a Filler),
}

/// The parts of a row's key as they stand in its images, length prefixes included.
#[derive(Debug, Default)]
pub(super) struct KeyParts<'a>([Option<&'a [u8]>; MAX_KEY_COLUMNS]);

impl KeyParts<'_> {
    pub(super) fn write(&self, count: usize, key: &mut Vec<u8>) -> Result<(), RowError> {
        for part in &self.0[..count] {
            key.extend_from_slice(part.ok_or_else(|| RowError::row("a row image without the whole key"))?);
        }
        Ok(())
    }
}

/// A place in a row: offsets of the value's first byte (behind its length) and behind its last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// No value begins at offset 0, where the bitmap is.
const NULL_SPAN: Span = Span { start: 0, end: 0 };

impl RowPlan {
    /// For images with all columns: joins what the log says of a table with its definition at that position.
    ///
    /// # Errors
    /// A definite error that names table, column and both sides when the log's table is another than the
    /// definition's, when a column is of a form that Towpath does not read, or when the target's type cannot take it.
    pub fn new(mapping: &Mapping, map: &TableMap, options: &ValueOptions) -> Result<RowPlan> {
        Self::with_columns(mapping, map, options, None)
    }

    /// For images with these columns only.
    ///
    /// # Errors
    /// As [`RowPlan::new`]; also when a new row's default cannot be told.
    pub(super) fn with_columns(
        mapping: &Mapping,
        map: &TableMap,
        options: &ValueOptions,
        present: Option<(&ColumnBits, Absent)>,
    ) -> Result<RowPlan> {
        super::agreement::check(&mapping.source, map)?;
        let source = &mapping.source;
        let total = map.columns().len();
        let has = |index: usize| present.is_none_or(|(bits, _)| bits.has(index));
        let mut columns = Vec::with_capacity(total);
        // Of every column of the table its place in the image.
        let mut at = vec![None; total];
        for (index, (column, logged)) in source.columns.iter().zip(map.columns()).enumerate() {
            let width = super::cell::width(logged.wire, &column.ty)
                .ok_or_else(|| super::agreement::unreadable(source, &column.name, logged.wire))?;
            if has(index) {
                at[index] = Some(columns.len() as u32);
                columns.push(PlanColumn { name: column.name.clone(), width });
            }
        }
        let mut cells = Vec::with_capacity(mapping.carried().len());
        let mut places = Vec::new();
        for target in mapping.carried() {
            let (Some(column), Some(logged)) = (source.columns.get(target.source), map.columns().get(target.source))
            else {
                return Err(super::agreement::no_source(source, &target.name));
            };
            let key = source.key.contains(&target.source);
            let in_table = |error: crate::Error| error.context(format_args!("table {}", source.name));
            places.push(match (at.get(target.source).copied().flatten(), present) {
                (Some(place), _) => {
                    cells.push((place, Cell::new(column, logged, target, key, options).map_err(in_table)?));
                    Place::Here(cells.len() as u32 - 1)
                }
                (None, Some((_, Absent::Default { mariadb }))) => {
                    Place::Default(Filler::default(column, target, key, options, mariadb).map_err(in_table)?)
                }
                (None, _) => Place::Elsewhere(Filler::any(target)),
            });
        }
        if source.key.len() > MAX_KEY_COLUMNS || source.key.iter().any(|&index| index >= total) {
            return Err(super::agreement::wrong_key(source));
        }
        let key_in_image: Vec<Option<u32>> = source.key.iter().map(|&index| at[index]).collect();
        let key_of = |index: usize| {
            let part = key_in_image.iter().position(|&place| place == Some(index as u32));
            part.map_or(NO_KEY, |part| part as u32)
        };
        let mut defaults = Vec::new();
        if let Some((_, Absent::Default { mariadb })) = present {
            for (part, &index) in source.key.iter().enumerate().filter(|(part, _)| key_in_image[*part].is_none()) {
                let (column, logged) = (&source.columns[index], &map.columns()[index]);
                let bytes = super::filler::key_bytes(column, logged.wire, mariadb)
                    .map_err(|error| error.context(format_args!("table {}", source.name)))?;
                defaults.push((part, bytes));
            }
        }
        let key = match key_in_image.iter().copied().collect::<Option<Vec<u32>>>() {
            None => KeyForm::Lacking(defaults),
            Some(places) if places.is_sorted() => KeyForm::InKeyOrder,
            Some(_) => KeyForm::Scattered,
        };
        let nullable: Vec<bool> = map
            .columns()
            .iter()
            .enumerate()
            .filter(|(index, _)| has(*index))
            .map(|(_, column)| column.nullable)
            .collect();
        let count = columns.len();
        Ok(RowPlan {
            bitmap_bytes: count.div_ceil(8),
            last_byte_mask: if count.is_multiple_of(8) { 0xff } else { (1 << (count % 8)) - 1 },
            dense: steps(&columns, key_of, |_| false),
            sparse: steps(&columns, key_of, |index| nullable[index]),
            key_columns: source.key.len(),
            key,
            columns,
            tells_all: !places.iter().any(|place| matches!(place, Place::Elsewhere(_))),
            places: (cells.len() < places.len()).then(|| places.into()),
            cells,
        })
    }

    /// Whether an image says what every column of the target becomes.
    pub fn tells_all(&self) -> bool {
        self.tells_all
    }

    /// Columns of the target, by index, of which the image says nothing.
    pub fn untold(&self) -> impl Iterator<Item = usize> {
        let places = self.places.as_deref().unwrap_or_default();
        places.iter().enumerate().filter(|(_, place)| matches!(place, Place::Elsewhere(_))).map(|(index, _)| index)
    }

    /// Whether the image has no columns, and so no bytes.
    pub fn has_no_columns(&self) -> bool {
        self.columns.is_empty()
    }

    /// Whether the image has every part of the key, or stands in for it.
    pub(super) fn has_whole_key(&self) -> bool {
        !matches!(self.key, KeyForm::Lacking(_))
    }

    /// The length of the row image that begins at `row`'s first byte. Appends the key's bytes as they stand in the
    /// row, length prefixes included, in key order: equal keys have equal bytes, and different keys different ones.
    ///
    /// # Errors
    /// The row ends early, or the key holds a NULL. `key` may then hold a part of it.
    pub fn walk(&self, row: &[u8], key: &mut Vec<u8>) -> Result<usize, RowError> {
        let bitmap = row.get(..self.bitmap_bytes).ok_or_else(cut)?;
        let steps = if self.is_dense(bitmap) { &self.dense } else { &self.sparse };
        if matches!(self.key, KeyForm::InKeyOrder) {
            // Almost every table: the key's parts are met in their order.
            return walk(steps, bitmap, row, |_, start, end| match row.get(start..end) {
                Some(part) => {
                    key.extend_from_slice(part);
                    true
                }
                None => false,
            });
        }
        let mut parts = KeyParts::default();
        let end = self.walk_parts(row, &mut parts)?;
        parts.write(self.key_columns, key)?;
        Ok(end)
    }

    /// As [`RowPlan::walk`], part by part: what the image does not have stays as it is in `parts`.
    pub(super) fn walk_parts<'a>(&'a self, row: &'a [u8], parts: &mut KeyParts<'a>) -> Result<usize, RowError> {
        if let KeyForm::Lacking(defaults) = &self.key {
            for (part, bytes) in defaults {
                parts.0[*part] = Some(bytes);
            }
        }
        let bitmap = row.get(..self.bitmap_bytes).ok_or_else(cut)?;
        let steps = if self.is_dense(bitmap) { &self.dense } else { &self.sparse };
        walk(steps, bitmap, row, |part, start, end| match (parts.0.get_mut(part), row.get(start..end)) {
            (Some(part), Some(bytes)) => {
                *part = Some(bytes);
                true
            }
            _ => false,
        })
    }

    pub(super) fn key_columns(&self) -> usize {
        self.key_columns
    }

    /// Writes the row that begins at `row`'s first byte, cell by cell in the target's order. A column of which the image
    /// tells nothing gets a value that fits its type: for deleted rows, which must be valid and are not stored.
    ///
    /// # Errors
    /// The row is damaged, or a value cannot be written; it names the column. `out` may then hold a part of the row.
    pub fn write(&self, row: &[u8], out: &mut impl ValueWriter) -> Result<(), RowError> {
        let mut on_stack = [NULL_SPAN; COLUMNS_ON_STACK];
        let mut on_heap = Vec::new();
        let spans = match on_stack.get_mut(..self.columns.len()) {
            Some(spans) => spans,
            None => {
                on_heap.resize(self.columns.len(), NULL_SPAN);
                on_heap.as_mut_slice()
            }
        };
        self.locate(row, spans)?;
        let Some(places) = &self.places else {
            for cell in &self.cells {
                self.write_cell(row, cell, spans, out)?;
            }
            return Ok(());
        };
        for place in places {
            match place {
                Place::Here(cell) => self.write_cell(row, &self.cells[*cell as usize], spans, out)?,
                Place::Default(filler) | Place::Elsewhere(filler) => filler.write(out)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn write_cell(
        &self,
        row: &[u8],
        (source, cell): &(u32, Cell),
        spans: &[Span],
        out: &mut impl ValueWriter,
    ) -> Result<(), RowError> {
        let span = spans[*source as usize];
        if span.start == 0 {
            out.null();
            return Ok(());
        }
        let value = &row[span.start as usize..span.end as usize];
        match cell.write(value, out) {
            Err(error) if !out.unwritable(value) => Err(RowError::column(&self.columns[*source as usize].name, error)),
            _ => Ok(()),
        }
    }

    /// Gives each column of the target of which the image at `row` tells something to `found`, by its index.
    pub(super) fn lay<'a>(
        &'a self,
        row: &'a [u8],
        spans: &mut Vec<Span>,
        mut found: impl FnMut(usize, Found<'a>),
    ) -> Result<(), RowError> {
        spans.clear();
        spans.resize(self.columns.len(), NULL_SPAN);
        self.locate(row, spans)?;
        let here = |cell: usize| {
            let (source, cell) = &self.cells[cell];
            let span = spans[*source as usize];
            match span.start {
                0 => Found::Null,
                start => Found::Value {
                    cell,
                    column: &self.columns[*source as usize].name,
                    value: &row[start as usize..span.end as usize],
                },
            }
        };
        match self.places.as_deref() {
            None => (0..self.cells.len()).for_each(|index| found(index, here(index))),
            Some(places) => {
                for (index, place) in places.iter().enumerate() {
                    match place {
                        Place::Here(cell) => found(index, here(*cell as usize)),
                        Place::Default(filler) => found(index, Found::Default(filler)),
                        Place::Elsewhere(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes where each column's value stands; `NULL_SPAN` where it is NULL.
    fn locate(&self, row: &[u8], spans: &mut [Span]) -> Result<(), RowError> {
        let bitmap = row.get(..self.bitmap_bytes).ok_or_else(cut)?;
        let mut at = self.bitmap_bytes;
        for (index, (column, span)) in self.columns.iter().zip(spans).enumerate() {
            if is_null(bitmap, index as u32) {
                continue;
            }
            let (start, length) = match column.width {
                Width::Fixed(bytes) => (at, bytes as usize),
                Width::Prefixed(bytes) => {
                    let bytes = usize::from(bytes);
                    (at + bytes, prefix(row, at, bytes).ok_or_else(cut)?)
                }
            };
            at = start + length;
            *span = Span { start: start as u32, end: at as u32 };
        }
        if at > row.len() || at > u32::MAX as usize { Err(cut()) } else { Ok(()) }
    }

    fn is_dense(&self, bitmap: &[u8]) -> bool {
        match bitmap.split_last() {
            Some((last, others)) => last & self.last_byte_mask == 0 && others.iter().all(|&byte| byte == 0),
            None => true,
        }
    }
}

/// Goes over a row; `keep` gets each part of the key (its number, first byte, end) and may refuse it.
#[inline]
fn walk(
    steps: &[Step],
    bitmap: &[u8],
    row: &[u8],
    mut keep: impl FnMut(usize, usize, usize) -> bool,
) -> Result<usize, RowError> {
    let mut at = bitmap.len();
    for step in steps {
        if step.null_column != ALWAYS && is_null(bitmap, step.null_column) {
            if step.key != NO_KEY {
                return Err(RowError::row("a NULL in the key"));
            }
            continue;
        }
        let start = at;
        at = match step.width {
            Width::Fixed(bytes) => at + bytes as usize,
            Width::Prefixed(bytes) => {
                let bytes = usize::from(bytes);
                at + bytes + prefix(row, at, bytes).ok_or_else(cut)?
            }
        };
        if step.key != NO_KEY && !keep(step.key as usize, start, at) {
            return Err(cut());
        }
    }
    // Values before this may lie beyond the end: fixed widths are not checked one by one.
    if at > row.len() || at > u32::MAX as usize { Err(cut()) } else { Ok(at) }
}

/// Compiles the walk. Neighbours of fixed width are merged where neither can be NULL nor is a part of the key.
fn steps(columns: &[PlanColumn], key_of: impl Fn(usize) -> u32, can_be_null: impl Fn(usize) -> bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let null_column = if can_be_null(index) { index as u32 } else { ALWAYS };
        let step = Step { width: column.width, null_column, key: key_of(index) };
        if let (Width::Fixed(bytes), Some(last)) = (step.width, steps.last_mut())
            && let Width::Fixed(before) = &mut last.width
            && [last.null_column, last.key, step.null_column, step.key] == [ALWAYS, NO_KEY, ALWAYS, NO_KEY]
        {
            *before += bytes;
            continue;
        }
        steps.push(step);
    }
    steps
}

fn is_null(bitmap: &[u8], column: u32) -> bool {
    bitmap[column as usize / 8] & (1 << (column % 8)) != 0
}

/// A little-endian length of one to four bytes.
fn prefix(row: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let rest = row.get(at..)?;
    // The first two are almost all there are.
    match bytes {
        1 => rest.first().map(|&byte| usize::from(byte)),
        2 => rest.first_chunk().map(|&bytes| usize::from(u16::from_le_bytes(bytes))),
        3 => rest.first_chunk().map(|&[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]) as usize),
        _ => rest.first_chunk().map(|&bytes| u32::from_le_bytes(bytes) as usize),
    }
}

#[cold]
fn cut() -> RowError {
    RowError::row("a row image that ends before its last column")
}

#[cfg(test)]
mod tests;
