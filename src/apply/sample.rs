//! A small table, its table map and rows of it, for this module's tests.

use std::sync::Arc;

use bytes::Bytes;

use super::change::{Changer, Rules};
use super::lag::Alterations;
use crate::config::Ddl;
use crate::mysql::binlog::{EventPlan, Place, RowPlan, RowsEvent, RowsKind, TableMap};
use crate::mysql::connect::Patience;
use crate::mysql::position::Position;
use crate::mysql::value::ValueOptions;
use crate::schema::{Column, ColumnType, IntegerSize, Mapping, MappingOptions, Table, TableName, map_table};
use crate::state::Lag;

/// `CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(10))`
pub(super) struct Sample {
    pub(super) mapping: Arc<Mapping>,
    pub(super) map: Arc<TableMap>,
    pub(super) plan: EventPlan,
}

impl Sample {
    pub(super) fn new() -> Sample {
        let id = Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: false });
        let text = Column::new("v", ColumnType::Varchar { chars: 10, charset: "utf8mb4".into() });
        let table = Table {
            name: TableName::new("shop", "t"),
            columns: vec![id, text],
            key: vec![0],
            primary: true,
            charset: None,
            indexes: Vec::new(),
            comment: String::new(),
        };
        let mapping = map_table(&table, &MappingOptions::for_version(3, 5)).unwrap();
        // id 7, no flags, names, two columns: LONG and VARCHAR of 40 bytes, none of them nullable.
        let map = b"\x07\0\0\0\0\0\x01\0\x04shop\0\x01t\0\x02\x03\x0f\x02\x28\0\0";
        let map = TableMap::parse(map).unwrap();
        let plan = RowPlan::new(&mapping, &map, &ValueOptions::default()).unwrap();
        Sample { mapping: Arc::new(mapping), map: Arc::new(map), plan: EventPlan::whole(Arc::new(plan)) }
    }

    /// The table lags, by a change that leaves it as it is.
    pub(super) fn lag(&self, number: u64) -> Lag {
        let target = &self.mapping.target;
        Lag {
            number,
            since: position(0),
            statement: "ALTER TABLE t COMMENT ''".into(),
            begun: 0,
            before: target.clone(),
            after: target.clone(),
            was: vec![Some(0), Some(1)],
        }
    }

    /// An event with these rows; for an update before and after in turn.
    pub(super) fn event(&self, kind: RowsKind, rows: &[(i32, &str)]) -> RowsEvent {
        let images = rows.iter().flat_map(|(id, text)| {
            let mut image = vec![0];
            image.extend_from_slice(&id.to_le_bytes());
            image.push(text.len() as u8);
            image.extend_from_slice(text.as_bytes());
            image
        });
        RowsEvent {
            table: Arc::clone(&self.map),
            kind,
            columns: None,
            images: Bytes::from(images.collect::<Vec<u8>>()),
            file: "binlog.000001".into(),
            offset: 4,
            gtid: None,
        }
    }
}

/// For committers that are given no schema changes.
pub(super) fn changer() -> Changer {
    let rules =
        Rules { ddl: Ddl::default(), mapping: MappingOptions::for_version(3, 5), values: ValueOptions::default() };
    Changer::new(rules, Patience::default(), Arc::default(), Alterations::new(crossbeam_channel::unbounded().0))
}

pub(super) fn position(offset: u64) -> Position {
    Position { file: "binlog.000001".into(), offset, gtids: None }
}

pub(super) fn place(offset: u64) -> Place {
    Place { file: "binlog.000001".into(), offset, gtid: None, committed_at: offset }
}
