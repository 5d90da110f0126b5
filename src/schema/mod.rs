//! Tables and columns as the source defines them, and their shape at the target. A leaf: it imports
//! nothing of ours but the error type.

mod change;
mod charset;
mod column;
mod default;
mod fill;
mod mapping;
mod reshape;
mod row_hash;
mod table;
mod target;

pub use change::{Altered, Renamed, SchemaChange};
pub(crate) use charset::may_be_lossy;
pub use column::{Column, ColumnType, DefaultValue, Generated, IntegerSize, LobSize};
pub use fill::Fill;
pub(crate) use mapping::map_column;
pub use mapping::{MAX_KEY_BYTES, Mapping, MappingOptions, map_table};
pub use reshape::rewrites_rows;
pub use row_hash::{ROW_COPY, ROW_HASH};
pub(crate) use table::quote;
pub use table::{Index, Table, TableName};
pub use target::{TargetColumn, TargetDefault, TargetTable, TargetType};
