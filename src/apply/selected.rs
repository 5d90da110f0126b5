//! A row as the source's SELECT gave it.

use super::encode::EncodeRow;
use crate::mysql::snapshot::SnapshotPlan;
use crate::mysql::value::{RowError, ValueWriter};
use crate::mysql::wire::PackedRow;

#[derive(Clone, Copy)]
pub(crate) struct Selected<'a> {
    pub(crate) plan: &'a SnapshotPlan,
    pub(crate) row: PackedRow<'a>,
}

impl EncodeRow for Selected<'_> {
    type Error = RowError;

    #[inline]
    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.plan.write(self.row, out)
    }
}
