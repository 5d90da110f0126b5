//! One row out of several images: each column has the value of the newest image that tells it.
//!
//! An UPDATE whose after image lacks columns says what has changed. What came before it (its own before image, the
//! row's earlier images in the same batch) may tell the rest, or some of it.

use super::row::{Found, RowPlan, Span};
use crate::mysql::value::{RowError, ValueWriter};

/// Takes a row's images, the newest first, and writes the row. Used again for one row after another.
#[derive(Debug, Default)]
pub struct Overlay<'a> {
    /// By the target's columns.
    found: Vec<Option<Found<'a>>>,
    missing: usize,
    spans: Vec<Span>,
    known: Vec<u64>,
}

impl<'a> Overlay<'a> {
    /// Begins a row of so many target columns.
    pub fn begin(&mut self, columns: usize) {
        self.found.clear();
        self.found.resize(columns, None);
        self.missing = columns;
        self.known.clear();
        self.known.resize(columns.div_ceil(64), 0);
    }

    /// Lays an older image under those before it. `true`: nothing is missing any more.
    ///
    /// # Errors
    /// The image is damaged.
    pub fn lay(&mut self, plan: &'a RowPlan, image: &'a [u8]) -> Result<bool, RowError> {
        let Overlay { found, missing, spans, known } = self;
        plan.lay(image, spans, |index, value| {
            if let Some(place @ None) = found.get_mut(index) {
                *place = Some(value);
                *missing -= 1;
                known[index / 64] |= 1 << (index % 64);
            }
        })?;
        Ok(*missing == 0)
    }

    /// One bit for each column of the target that some image tells.
    pub fn known(&self) -> &[u64] {
        &self.known
    }

    /// Writes the cells of the columns that are known, in the target's order.
    ///
    /// # Errors
    /// A value cannot be written; it names the column.
    pub fn write(&self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        for found in self.found.iter().flatten() {
            match found {
                Found::Null => out.null(),
                Found::Value { cell, column, value } => {
                    cell.write(value, out).map_err(|error| RowError::column(column, error))?;
                }
                Found::Default(filler) => filler.write(out)?,
            }
        }
        Ok(())
    }
}
