//! How a table's rows are asked for and read on both sides: key columns first, in key order, each column with the
//! expression that shows it without loss and the canonical form by which both sides are compared.

use std::collections::HashSet;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::canonical::{Cell, Dialect, Form, Meaning, Rules, canonical};
use crate::config::ZeroDate;
use crate::mysql::connect::{Flavor, source_error};
use crate::mysql::snapshot::Key;
use crate::schema::{ColumnType, Mapping, TableName, TargetType, quote};
use crate::state::Store;
use crate::target::starrocks::StoredColumn;
use crate::{Error, Result};

/// A row as a server sent it, in the text protocol.
pub(crate) type RawRow = Vec<Option<Vec<u8>>>;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

pub(crate) struct Layout {
    pub(crate) source: TableName,
    pub(crate) target: TableName,
    pub(crate) columns: Vec<LayoutColumn>,
    /// So many of `columns` are the key; of a table without one all of them.
    pub(crate) keys: usize,
    /// For the key, where nothing is tolerated: it tells rows apart.
    key_rules: Rules,
    rules: Rules,
    keyless: bool,
}

pub(crate) struct LayoutColumn {
    pub(crate) name: String,
    pub(crate) ty: ColumnType,
    /// A text's character set and collation at the source.
    pub(crate) collation: Option<(String, String)>,
    pub(crate) target_name: String,
    /// `varchar`, lower case.
    pub(crate) target_type: String,
    pub(crate) stored: Option<TargetType>,
    /// Which of the cells that the job writes for a row.
    written: usize,
    meaning: Meaning,
    source: Selected,
    target: Selected,
}

/// A column as one side shows it.
struct Selected {
    expression: String,
    form: Form,
}

/// A row by its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The key's cells, as [`Cell::write`] writes them.
    pub(crate) key: Vec<u8>,
    /// The other cells.
    pub(crate) cells: Vec<Cell>,
}

/// What the source's catalogue says of a column beside its type.
struct SourceColumn {
    name: String,
    data_type: String,
    collation: Option<(String, String)>,
}

impl Layout {
    /// `wanted`: names of the columns to compare, beside the key; empty: all. Columns that the target does not have are
    /// left out; the comparison of schemas tells of them.
    ///
    /// # Errors
    /// Definite: the key is not there at the target.
    pub(crate) async fn new(
        conn: &mut Conn,
        flavor: Flavor,
        mapping: &Mapping,
        stored: &[StoredColumn],
        wanted: &[String],
        rules: &Rules,
    ) -> Result<Layout> {
        let described = source_columns(conn, &mapping.source.name).await?;
        let dialect = match flavor {
            Flavor::Mysql => Dialect::Mysql,
            Flavor::Mariadb => Dialect::Mariadb,
        };
        let mut columns = Vec::with_capacity(mapping.target.columns.len());
        let made = mapping.target.columns.len() - mapping.carried().len();
        for (index, wished) in mapping.target.columns.iter().enumerate() {
            let is_key = index < mapping.target.key_columns;
            let Some(column) = mapping.source.columns.get(wished.source) else { continue };
            if !is_key && !wanted.is_empty() && !wanted.iter().any(|name| name.eq_ignore_ascii_case(&column.name)) {
                continue;
            }
            let found = described.iter().find(|found| found.name == column.name);
            let there = stored.iter().find(|there| there.name.eq_ignore_ascii_case(&wished.name));
            let (Some(found), Some(there)) = (found, there) else {
                if is_key {
                    return Err(Error::definite(format!(
                        "table {}: key column {} is not there on both sides, so its rows cannot be compared",
                        mapping.source.name, column.name
                    ))
                    .hint("`towpath ddl` shows the table that the job needs"));
                }
                continue;
            };
            let meaning = Meaning::of(&found.data_type, &there.data_type);
            columns.push(LayoutColumn {
                name: column.name.clone(),
                ty: column.ty.clone(),
                collation: found.collation.clone(),
                target_name: there.name.clone(),
                target_type: there.data_type.clone(),
                stored: there.ty,
                written: index - made,
                meaning,
                source: selected(dialect, &column.name, &found.data_type, meaning),
                target: selected(Dialect::StarRocks, &there.name, &there.data_type, meaning),
            });
        }
        let keyless = mapping.is_row_hash();
        let exact = Rules::exact(rules.zone.clone(), rules.zero_date.clone());
        Ok(Layout {
            source: mapping.source.name.clone(),
            target: mapping.target.name.clone(),
            keys: if keyless { columns.len() } else { mapping.target.key_columns },
            columns,
            // A row that is its own key is compared by it.
            key_rules: if keyless { rules.clone() } else { exact },
            rules: rules.clone(),
            keyless,
        })
    }

    pub(crate) fn key(&self) -> &[LayoutColumn] {
        &self.columns[..self.keys.min(self.columns.len())]
    }

    /// The table has no key: a row is all of its cells, and may be there more than once.
    pub(crate) fn is_keyless(&self) -> bool {
        self.keyless
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The SELECT list.
    pub(crate) fn expressions(&self, side: Side) -> String {
        list(&self.columns, side)
    }

    pub(crate) fn key_expressions(&self, side: Side) -> String {
        list(self.key(), side)
    }

    /// A row that was asked for by `expressions`.
    pub(crate) fn read(&self, row: RawRow, side: Side) -> Row {
        let (mut key, mut cells) = (Vec::new(), Vec::with_capacity(self.columns.len() - self.key().len()));
        for (index, (column, bytes)) in self.columns.iter().zip(row).enumerate() {
            if index < self.keys {
                canonical(column.meaning, column.form(side), bytes, &self.key_rules).write(&mut key);
            } else {
                cells.push(canonical(column.meaning, column.form(side), bytes, &self.rules));
            }
        }
        Row { key, cells }
    }

    /// The cells of a chunk's bound.
    pub(crate) fn bound(&self, bound: &Key) -> Vec<Cell> {
        let cell = |(column, bytes): (&LayoutColumn, Vec<u8>)| {
            // A bound is the number's text, whatever the column itself is shown as.
            let form = if column.source.form == Form::Utc { Form::Utc } else { Form::Text };
            canonical(column.meaning, form, Some(bytes), &self.key_rules)
        };
        self.key().iter().zip(bound.values()).map(cell).collect()
    }

    /// The key of a row whose first cells the job writes like this; `None`: there are too few of them.
    pub(crate) fn written_key(&self, cells: &[Option<Vec<u8>>]) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for column in self.key() {
            let bytes = cells.get(column.written)?.clone();
            canonical(column.meaning, column.target.form, bytes, &self.key_rules).write(&mut key);
        }
        Some(key)
    }

    /// The keys of rows that the target has refused and that wait as dead letters. (Those of a table without a key are
    /// kept under another key than this one.)
    pub(crate) fn refused_keys(&self, store: &Store) -> Result<HashSet<Vec<u8>>> {
        if self.keyless {
            return Ok(HashSet::new());
        }
        let letters = store.live_letter_keys()?.into_iter().filter(|letter| letter.table == self.target);
        let key = |letter: crate::state::LetterKey| {
            let texts: Vec<Option<String>> = serde_json::from_str(&letter.key).ok()?;
            let cells: Vec<Option<Vec<u8>>> = texts.into_iter().map(|text| text.map(String::into_bytes)).collect();
            self.written_key(&cells)
        };
        Ok(letters.filter_map(key).collect())
    }

    /// Whether both servers have the rows in the same order, so that a range of the source's key is one of the target's.
    pub(crate) fn is_ordered_alike(&self) -> bool {
        self.key().iter().all(|column| column.is_ordered_alike(&self.key_rules))
    }
}

fn selected(dialect: Dialect, name: &str, data_type: &str, meaning: Meaning) -> Selected {
    let (expression, form) = dialect.select(&quote(name), data_type, meaning);
    // Our sessions are in UTC; a server may lack the tables of named zones.
    let moment = dialect != Dialect::StarRocks && data_type == "timestamp";
    Selected { expression, form: if moment { Form::Utc } else { form } }
}

fn list(columns: &[LayoutColumn], side: Side) -> String {
    let expression = |column: &LayoutColumn| match side {
        Side::Source => column.source.expression.clone(),
        Side::Target => column.target.expression.clone(),
    };
    columns.iter().map(expression).collect::<Vec<_>>().join(", ")
}

impl LayoutColumn {
    fn form(&self, side: Side) -> Form {
        match side {
            Side::Source => self.source.form,
            Side::Target => self.target.form,
        }
    }

    fn is_ordered_alike(&self, rules: &Rules) -> bool {
        let same_dates = !matches!(rules.zero_date, ZeroDate::Value(_));
        match &self.ty {
            ColumnType::Integer { .. } | ColumnType::Year | ColumnType::Bit { .. } => self.target_type != "varchar",
            ColumnType::Date | ColumnType::DateTime { .. } => same_dates,
            // Clocks that are set back show a later moment as an earlier one.
            ColumnType::Timestamp { .. } => same_dates && rules.zone.to_fixed_offset().is_ok(),
            // Hexadecimal digits stand in the bytes' order.
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } => true,
            ColumnType::Char { .. } | ColumnType::Varchar { .. } => self.collation.as_ref().is_some_and(by_bytes),
            _ => false,
        }
    }
}

/// Whether a collation orders text by the bytes of its UTF-8, and tells trailing blanks apart, as StarRocks does. The
/// usual `…_bin` do not: `'a\t'` comes before `'a'` there.
fn by_bytes((charset, collation): &(String, String)) -> bool {
    let unicode = matches!(charset.as_str(), "utf8mb4" | "utf8mb3" | "utf8" | "ascii");
    unicode && (collation == "utf8mb4_0900_bin" || collation.ends_with("_nopad_bin"))
}

async fn source_columns(conn: &mut Conn, table: &TableName) -> Result<Vec<SourceColumn>> {
    type Described = (String, String, Option<String>, Option<String>);
    let columns: Vec<Described> = conn
        .exec(
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (&table.database, &table.table),
        )
        .await
        .map_err(|error| source_error(format_args!("reading the columns of {table}"), error))?;
    let column = |(name, data_type, charset, collation): Described| SourceColumn {
        name,
        data_type: data_type.to_ascii_lowercase(),
        collation: charset.zip(collation),
    };
    Ok(columns.into_iter().map(column).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::schema::IntegerSize;

    pub(in crate::verify) fn column(name: &str, ty: ColumnType, data_type: &str, target_type: &str) -> LayoutColumn {
        let meaning = Meaning::of(data_type, target_type);
        LayoutColumn {
            name: name.into(),
            ty,
            collation: Some(("utf8mb4".into(), "utf8mb4_general_ci".into())),
            target_name: name.into(),
            target_type: target_type.into(),
            stored: None,
            written: 0,
            meaning,
            source: selected(Dialect::Mysql, name, data_type, meaning),
            target: selected(Dialect::StarRocks, name, target_type, meaning),
        }
    }

    pub(in crate::verify) fn layout(columns: Vec<LayoutColumn>, rules: Rules) -> Layout {
        let table = TableName::new("shop", "t");
        Layout {
            source: table.clone(),
            target: table,
            columns,
            keys: 1,
            key_rules: rules.clone(),
            rules,
            keyless: false,
        }
    }

    #[test]
    fn only_what_both_servers_order_alike_is_compared_by_ranges() {
        let utc = Rules::exact(jiff::tz::TimeZone::UTC, ZeroDate::Null);
        let berlin = Rules::exact(jiff::tz::TimeZone::get("Europe/Berlin").unwrap(), ZeroDate::Null);
        let dated = Rules { zero_date: ZeroDate::Value("1970-01-01".into()), ..utc.clone() };
        let int = column("a", ColumnType::Integer { size: IntegerSize::Big, unsigned: true }, "bigint", "largeint");
        assert!(int.is_ordered_alike(&utc));
        let moment = column("a", ColumnType::Timestamp { digits: 0 }, "timestamp", "datetime");
        assert!(moment.is_ordered_alike(&utc) && !moment.is_ordered_alike(&berlin) && !moment.is_ordered_alike(&dated));
        let decimal = column("a", ColumnType::Decimal { precision: 9, scale: 2 }, "decimal", "varchar");
        assert!(!decimal.is_ordered_alike(&utc));
        let ty = ColumnType::Varchar { chars: 9, charset: "utf8mb4".into() };
        let mut text = column("a", ty, "varchar", "varchar");
        for (collation, alike) in [
            ("utf8mb4_general_ci", false),
            ("utf8mb4_bin", false),
            ("utf8mb4_0900_bin", true),
            ("utf8mb4_nopad_bin", true),
        ] {
            text.collation = Some(("utf8mb4".into(), collation.into()));
            assert_eq!(text.is_ordered_alike(&utc), alike, "{collation}");
        }
    }
}
