//! Rows found by the keys that a comparison has kept, at either side.

use super::Subject;
use super::canonical::Rules;
use super::layout::{Layout, RawRow, Side};
use super::servers::{LOOKUP, SourceReader, TargetReader};
use crate::Result;
use crate::mysql::connect::Patience;
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::{Mapping, quote};

/// One table's rows by key.
pub(crate) struct Keyed<'a> {
    layout: Layout,
    source: SourceReader,
    target: TargetReader<'a>,
}

impl<'a> Keyed<'a> {
    pub(crate) async fn new(subject: &Subject<'a>, mapping: &Mapping, patience: Patience) -> Result<Keyed<'a>> {
        let stored = subject.starrocks.stored_columns(&mapping.target.name).await?;
        let rules = Rules::exact(subject.zone.clone(), subject.zero_date.clone());
        let mut conn = subject.connect.sql(None).await?;
        let layout = Layout::new(&mut conn, subject.server.flavor, mapping, &stored, &[], &rules).await?;
        let source = SourceReader::new(&subject.connect, patience);
        Ok(Keyed { layout, source, target: TargetReader::new(subject.starrocks, patience) })
    }

    /// A WHERE clause for the source that finds the rows with these keys, and perhaps some more; `None`: none can be there.
    pub(crate) fn clause(&self, keys: &[Vec<u8>]) -> Option<String> {
        self.layout.lookup(Side::Source, keys).map(|condition| format!(" WHERE {condition}"))
    }

    /// Those of the keys that the source does not have.
    pub(crate) async fn gone(&mut self, snapshot: &SnapshotTable, keys: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut gone = Vec::new();
        for keys in keys.chunks(LOOKUP) {
            let found = self.source.keys(&self.layout, snapshot, keys).await?;
            gone.extend(keys.iter().filter(|key| !found.contains(*key)).cloned());
        }
        Ok(gone)
    }

    /// The key cells, as the target shows them, of those of the keys that it has.
    pub(crate) async fn shown_at_the_target(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Vec<Option<String>>>> {
        let layout = &self.layout;
        let plain: Vec<String> = layout.key().iter().map(|column| quote(&column.target_name)).collect();
        let mut shown = Vec::new();
        for keys in keys.chunks(LOOKUP) {
            let Some(condition) = layout.lookup(Side::Target, keys) else { continue };
            let canonical = layout.key_expressions(Side::Target);
            let (table, plain) = (layout.target.quoted(), plain.join(", "));
            let statement = format!("SELECT {canonical}, {plain} FROM {table} WHERE {condition}");
            let count = layout.key().len();
            self.target
                .each(layout, &statement, &mut |mut row: RawRow| {
                    let cells = row.split_off(count.min(row.len()));
                    if keys.contains(&layout.read(row, Side::Target).key) {
                        let text = |cell: Vec<u8>| String::from_utf8_lossy(&cell).into_owned();
                        shown.push(cells.into_iter().map(|cell| cell.map(text)).collect());
                    }
                    true
                })
                .await?;
        }
        Ok(shown)
    }
}
