//! Rows that a fault has filtered, as if they broke a rule of their table.

use std::borrow::Cow;

use super::plan::Plan;
use crate::embedded::fault::Mode;
use crate::embedded::value::Cell;

/// Which rows of a load are refused.
#[derive(Debug, Clone)]
pub(crate) enum Refusing {
    Values {
        column: String,
        values: Vec<String>,
    },
    /// One in `nth`, by its key: a bad row is bad at every try, in whatever company.
    Keys {
        nth: u64,
    },
}

impl Refusing {
    /// `None`: the mode refuses no rows.
    pub(crate) fn new(mode: &Mode) -> Option<Refusing> {
        match mode {
            Mode::FilteredValues { column, values } => {
                Some(Refusing::Values { column: column.clone(), values: values.clone() })
            }
            Mode::FilteredRows { nth } => Some(Refusing::Keys { nth: *nth }),
            _ => None,
        }
    }

    /// Why the row is refused; `None`: it is not.
    pub(super) fn reason(&self, plan: &Plan, cells: &[Cell<'_>]) -> Option<String> {
        match self {
            Refusing::Values { column, values } => {
                let at = plan.table.columns.iter().position(|one| one.is_named(column))?;
                let value = text(cells.get(at)?)?;
                values.iter().any(|bad| *bad == value).then(|| {
                    format!("Value '{value}' is refused. The column is '{column}' of table '{}'", plan.table.name)
                })
            }
            Refusing::Keys { nth } => {
                let mut hasher = crc32fast::Hasher::new();
                for cell in &cells[..plan.table.key_columns] {
                    hasher.update(text(cell).unwrap_or_default().as_bytes());
                    hasher.update(&[0]);
                }
                let refused = u64::from(hasher.finalize()).is_multiple_of(*nth);
                refused.then(|| format!("The row is refused, as one in {nth} of table '{}' is", plan.table.name))
            }
        }
    }
}

fn text<'a>(cell: &'a Cell<'_>) -> Option<Cow<'a, str>> {
    match cell {
        Cell::Null => None,
        Cell::Int(value) => Some(value.to_string().into()),
        Cell::Real(value) => Some(value.to_string().into()),
        Cell::Text(bytes) | Cell::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}
