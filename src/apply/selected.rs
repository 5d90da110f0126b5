//! A row as the source's SELECT gave it.

use mysql_async::Row;

use super::encode::EncodeRow;
use crate::mysql::snapshot::SnapshotPlan;
use crate::mysql::value::{RowError, ValueWriter};

#[derive(Clone, Copy)]
pub(crate) struct Selected<'a> {
    pub(crate) plan: &'a SnapshotPlan,
    pub(crate) row: &'a Row,
}

impl EncodeRow for Selected<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.plan.write(self.row, out)
    }
}
