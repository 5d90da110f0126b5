//! ALTER TABLE's column clauses: from a table definition to the next one, by the rules of C.4 and G37 to G41.
//!
//! Planning is pure. It says what the table becomes and whether the change is *fast* (metadata only, done at
//! once) or needs a job that rewrites the rows.

use opensrv_mysql::ErrorKind;

use super::answer::{SqlError, SqlResult};
use super::create::{check_column_name, check_order_by, column};
use super::statement::{ColumnClause, ColumnSpec, Position};
use crate::embedded::catalog::{ColumnDef, Model, TableDef, same_name};
use crate::embedded::types::ColumnType;
use crate::target::Version;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) table: TableDef,
    pub(super) fast: bool,
}

/// `RENAME COLUMN` since then.
const RENAMES: Version = Version { major: 3, minor: 3, patch: 2 };

/// Applies the clauses in order.
pub(super) fn plan(table: &TableDef, clauses: &[ColumnClause], version: Version) -> SqlResult<Plan> {
    let mut next = table.clone();
    let evolution = table.properties.get("fast_schema_evolution").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let mut fast = true;
    for clause in clauses {
        match clause {
            ColumnClause::Add { columns, position } => {
                let mut position = position.clone();
                for spec in columns {
                    add(&mut next, spec, position.as_ref(), version)?;
                    if position.is_some() {
                        position = Some(Position::After(spec.name.clone()));
                    }
                }
                fast &= evolution;
            }
            ColumnClause::Drop { name } => {
                drop_column(&mut next, name)?;
                fast &= evolution;
            }
            ColumnClause::Modify { column, position } => {
                fast &= modify(&mut next, column, position.as_ref(), version)? && evolution;
            }
            ColumnClause::ModifyComment { name, comment } => {
                let index = position_of(&next, name)?;
                next.columns[index].comment.clone_from(comment);
            }
        }
    }
    next.schema_version += 1;
    Ok(Plan { table: next, fast })
}

/// `ORDER BY (…)`: another sort key; always a job.
pub(super) fn plan_order(table: &TableDef, columns: &[String]) -> SqlResult<Plan> {
    if table.model == Model::Duplicate {
        return Err(SqlError::ddl("order by is only supported for primary key table by this server"));
    }
    check_order_by(columns, &table.columns)?;
    let mut next = table.clone();
    next.order_by = columns.to_vec();
    next.schema_version += 1;
    Ok(Plan { table: next, fast: false })
}

/// `RENAME COLUMN`, since 3.3.2. The column's first name stays its own, so no new one may have it (G39).
pub(super) fn plan_rename(table: &TableDef, from: &str, to: &str, version: Version) -> SqlResult<TableDef> {
    if version < RENAMES {
        return Err(SqlError::syntax(1, 1, "Unexpected input 'COLUMN', RENAME COLUMN needs version 3.3.2"));
    }
    check_column_name(to)?;
    let Some(index) = table.columns.iter().position(|column| column.is_named(from)) else {
        return Err(SqlError::new(
            ErrorKind::ER_BAD_FIELD_ERROR,
            format!("Unknown column '{from}' in '{}'", table.name),
        ));
    };
    // Another case of its own name is a duplicate too.
    if table.column(to).is_some() {
        return Err(SqlError::new(ErrorKind::ER_DUP_FIELDNAME, format!("Duplicate column name '{to}'")));
    }
    let mut next = table.clone();
    let column = &mut next.columns[index];
    let old = std::mem::replace(&mut column.name, to.to_owned());
    column.first_name.get_or_insert_with(|| old.clone());
    for name in next.distribution.iter_mut().chain(next.order_by.iter_mut()) {
        if same_name(name, &old) {
            to.clone_into(name);
        }
    }
    next.schema_version += 1;
    Ok(next)
}

fn position_of(table: &TableDef, name: &str) -> SqlResult<usize> {
    table
        .columns
        .iter()
        .position(|column| column.is_named(name))
        .ok_or_else(|| SqlError::ddl(format!("Column does not exists: {name}")))
}

fn add(table: &mut TableDef, spec: &ColumnSpec, position: Option<&Position>, version: Version) -> SqlResult<()> {
    let name = &spec.name;
    check_column_name(name)?;
    if spec.key {
        return Err(SqlError::ddl(if table.model == Model::Primary {
            format!("Can not add key column: {name} for primary key table")
        } else {
            format!("Can not add key column: {name}, this server adds value columns only")
        }));
    }
    let added = column(spec, table.next_column_id, false, false, version)?;
    if table.column(name).is_some_and(|there| is_same(there, &added)) {
        return Err(SqlError::ddl(format!("Can not add column which already exists in base table: {name}")));
    }
    let has_id = |column: &&ColumnDef| same_name(column.first_name.as_ref().unwrap_or(&column.name), name);
    if let Some(there) = table.columns.iter().find(has_id).filter(|_| version >= RENAMES) {
        return Err(SqlError::ddl(format!(
            "Can not add column which already exists in column id: {name}, you can remove `{}` {} and try again.",
            there.name, there.ty
        )));
    }
    if table.column(name).is_some() {
        return Err(SqlError::ddl(format!("Repeatedly add same column with different definition: {name}")));
    }
    if !added.nullable && added.default.is_none() {
        return Err(SqlError::ddl(format!("Column {name} is NOT NULL and must have a default value")));
    }
    let index = match position {
        None => table.columns.len(),
        Some(Position::First) => {
            return Err(SqlError::ddl(format!("Can not add value column: {name} before key columns")));
        }
        Some(Position::After(other)) => {
            let after = position_of(table, other)? + 1;
            if after < table.key_columns {
                return Err(SqlError::ddl(format!("Invalid column order. value should be after key. column: {name}")));
            }
            after
        }
    };
    table.columns.insert(index, added);
    table.next_column_id += 1;
    Ok(())
}

/// Equal in all that StarRocks compares: a definition, not which column it is.
fn is_same(there: &ColumnDef, other: &ColumnDef) -> bool {
    (&there.ty, there.nullable, &there.default, &there.comment)
        == (&other.ty, other.nullable, &other.default, &other.comment)
}

fn drop_column(table: &mut TableDef, name: &str) -> SqlResult<()> {
    let index = position_of(table, name)?;
    if index < table.key_columns {
        return Err(SqlError::ddl(if table.model == Model::Primary {
            "Can not drop key column in primary data model table".to_owned()
        } else {
            format!("Can not drop key column {name}")
        }));
    }
    check_not_sorted(table, name, "drop")?;
    if table.distribution.iter().any(|other| same_name(other, name)) {
        return Err(SqlError::ddl(format!("Distribution column[{name}] cannot be dropped")));
    }
    table.columns.remove(index);
    Ok(())
}

fn check_not_sorted(table: &TableDef, name: &str, action: &str) -> SqlResult<()> {
    if table.order_by.iter().any(|other| same_name(other, name)) {
        return Err(SqlError::ddl(format!("Can not {action} sort column in primary data model table")));
    }
    Ok(())
}

/// `true`: metadata only.
fn modify(table: &mut TableDef, spec: &ColumnSpec, position: Option<&Position>, version: Version) -> SqlResult<bool> {
    let name = &spec.name;
    let index = position_of(table, name)?;
    let old = table.columns[index].clone();
    if old.is_key {
        let new = column(spec, old.id, true, table.model == Model::Primary, version)?;
        let longer = matches!((&old.ty, &new.ty), (ColumnType::Varchar(from), ColumnType::Varchar(to)) if to > from);
        let newest = (version.major, version.minor) >= (3, 5);
        if table.model == Model::Primary && !(longer && newest) {
            return Err(SqlError::ddl(format!(
                "Can not modify key column: {name} for primary key table except for increasing varchar length"
            )));
        }
        if new.ty != old.ty && !longer {
            return Err(cannot_change(&old.ty, &new.ty));
        }
        check_default(&old, &new)?;
        let only_longer = longer && old.comment == new.comment;
        table.columns[index] = ColumnDef { name: old.name, first_name: old.first_name, ..new };
        return Ok(only_longer);
    }
    if spec.key {
        return Err(SqlError::ddl(format!("Can not modify value column: {name} to a key column")));
    }
    check_not_sorted(table, name, "modify")?;
    let new = column(spec, old.id, false, false, version)?;
    if old.nullable && !new.nullable {
        return Err(SqlError::ddl(format!("Can not change from nullable to non-nullable. Column: {name}")));
    }
    check_type_change(&old.ty, &new.ty)?;
    check_default(&old, &new)?;
    let longer = matches!((&old.ty, &new.ty), (ColumnType::Varchar(from), ColumnType::Varchar(to)) if to >= from);
    let unchanged = old.nullable == new.nullable && old.comment == new.comment;
    let metadata_only = longer && unchanged && (version.major, version.minor) >= (3, 3);
    let moved = position.is_some();
    table.columns[index] = ColumnDef { name: old.name, first_name: old.first_name, ..new };
    if let Some(position) = position {
        let column = table.columns.remove(index);
        let to = match position {
            Position::First => 0,
            Position::After(other) => position_of(table, other)? + 1,
        };
        if to < table.key_columns {
            return Err(SqlError::ddl(format!("Invalid column order. value should be after key. column: {name}")));
        }
        table.columns.insert(to, column);
    }
    Ok(metadata_only && !moved)
}

/// A default that is not written again is another default, and that is refused (`Column.checkSchemaChangeAllowed`).
fn check_default(old: &ColumnDef, new: &ColumnDef) -> SqlResult<()> {
    if old.default == new.default { Ok(()) } else { Err(SqlError::ddl("Can not change default value")) }
}

fn cannot_change(from: &ColumnType, to: &ColumnType) -> SqlError {
    let upper = |ty: &ColumnType| ty.to_string().to_uppercase();
    SqlError::ddl(format!("Can not change {} to {}", upper(from), upper(to)))
}

/// The type matrix of C.4.
fn check_type_change(from: &ColumnType, to: &ColumnType) -> SqlResult<()> {
    use ColumnType::*;
    let allowed = match (from, to) {
        (a, b) if a == b => true,
        (TinyInt, SmallInt | Int | BigInt | LargeInt | Double | Varchar(_)) => true,
        (SmallInt, Int | BigInt | LargeInt | Double | Varchar(_)) => true,
        (Int, BigInt | LargeInt | Double | Date | Varchar(_)) => true,
        (BigInt, LargeInt | Double | Varchar(_)) => true,
        (LargeInt | Double, Varchar(_)) => true,
        (Float, Double | Varchar(_)) => true,
        (Char(old) | Varchar(old), Varchar(new)) | (Char(old), Char(new)) => {
            if new < old {
                return Err(SqlError::ddl(format!("Cannot shorten string length from {old} to {new}")));
            }
            true
        }
        (Varchar(_), TinyInt | SmallInt | Int | BigInt | LargeInt | Float | Double | Date | Json | Decimal { .. }) => {
            true
        }
        (Varbinary(old), Varbinary(new)) => new >= old,
        (Json, Varchar(_)) => true,
        (Decimal { precision, scale }, Decimal { precision: wider, scale: finer }) => {
            finer >= scale && wider - finer >= precision - scale
        }
        // A sign and a point.
        (Decimal { precision, .. }, Varchar(bytes)) => *bytes >= u32::from(*precision) + 2,
        (Date, DateTime) | (DateTime, Date) => true,
        _ => false,
    };
    if allowed { Ok(()) } else { Err(cannot_change(from, to)) }
}

#[cfg(test)]
mod tests {
    use super::super::statement::{AlterTable, Statement, parse};
    use super::*;

    const V35: Version = Version { major: 3, minor: 5, patch: 0 };

    fn table(fast: bool) -> TableDef {
        let sql = format!(
            "CREATE TABLE d.t (k BIGINT NOT NULL, a INT, b VARCHAR(10) DEFAULT 'x' COMMENT 'c', c DECIMAL(10,2), v VARCHAR(10), s INT)
             PRIMARY KEY(k) DISTRIBUTED BY HASH(k) ORDER BY(s)
             PROPERTIES('replication_num'='1', 'fast_schema_evolution'='{fast}')"
        );
        let Statement::CreateTable(create) = parse(&sql).unwrap() else { panic!() };
        super::super::create::table(&create, "d", V35).unwrap()
    }

    fn alter(table: &TableDef, clause: &str) -> SqlResult<Plan> {
        let Statement::AlterTable { change: AlterTable::Columns { clauses, .. }, .. } =
            parse(&format!("ALTER TABLE d.t {clause}")).unwrap()
        else {
            panic!()
        };
        plan(table, &clauses, V35)
    }

    fn refusal(clause: &str) -> String {
        alter(&table(true), clause).unwrap_err().message
    }

    #[test]
    fn adding_and_dropping_is_fast_only_with_fast_schema_evolution() {
        for clause in ["ADD COLUMN n INT", "DROP COLUMN a"] {
            assert!(alter(&table(true), clause).unwrap().fast);
            assert!(!alter(&table(false), clause).unwrap().fast);
        }
        assert!(!alter(&table(true), "MODIFY COLUMN a BIGINT").unwrap().fast);
        assert!(alter(&table(true), "MODIFY COLUMN b VARCHAR(20) DEFAULT 'x' COMMENT 'c'").unwrap().fast);
    }

    #[test]
    fn key_and_sort_columns_stay() {
        assert_eq!(refusal("DROP COLUMN k"), "Can not drop key column in primary data model table");
        assert_eq!(refusal("DROP COLUMN s"), "Can not drop sort column in primary data model table");
        assert!(refusal("MODIFY COLUMN k LARGEINT").starts_with("Can not modify key column: k for primary key table"));
        assert_eq!(refusal("ADD COLUMN n INT KEY"), "Can not add key column: n for primary key table");
    }

    #[test]
    fn the_type_matrix_holds() {
        for (clause, ok) in [
            ("MODIFY COLUMN a BIGINT", true),
            ("MODIFY COLUMN a SMALLINT", false),
            ("MODIFY COLUMN a FLOAT", false),
            ("MODIFY COLUMN a DECIMAL(10,0)", false),
            ("MODIFY COLUMN b VARCHAR(9) DEFAULT 'x'", false),
            ("MODIFY COLUMN v INT", true),
            ("MODIFY COLUMN c DECIMAL(12,4)", true),
            ("MODIFY COLUMN c DECIMAL(11,4)", false),
            ("MODIFY COLUMN c DOUBLE", false),
            ("MODIFY COLUMN a INT NOT NULL", false),
        ] {
            assert_eq!(alter(&table(true), clause).is_ok(), ok, "{clause}");
        }
    }

    #[test]
    fn modify_repeats_the_default_and_loses_a_comment_that_is_not_written() {
        assert_eq!(refusal("MODIFY COLUMN b VARCHAR(20)"), "Can not change default value");
        assert_eq!(refusal("MODIFY COLUMN b VARCHAR(20) DEFAULT 'y'"), "Can not change default value");
        assert_eq!(refusal("MODIFY COLUMN a BIGINT DEFAULT '1'"), "Can not change default value");
        let plan = alter(&table(true), "MODIFY COLUMN b VARCHAR(20) DEFAULT 'x'").unwrap();
        assert_eq!((plan.table.column("b").unwrap().comment.as_str(), plan.fast), ("", false));
    }

    #[test]
    fn replayed_changes_are_errors() {
        assert_eq!(refusal("ADD COLUMN A INT"), "Can not add column which already exists in base table: A");
        assert_eq!(refusal("DROP COLUMN zz"), "Column does not exists: zz");
    }

    #[test]
    fn a_renamed_columns_first_name_stays_its_own() {
        let renamed = plan_rename(&table(true), "a", "a2", V35).unwrap();
        let renamed = plan_rename(&renamed, "a2", "a3", V35).unwrap();
        let error = alter(&renamed, "ADD COLUMN a INT").unwrap_err().message;
        assert!(
            error.starts_with("Can not add column which already exists in column id: a, you can remove"),
            "{error}"
        );
        assert!(alter(&renamed, "ADD COLUMN a2 INT").is_ok(), "only the first name is kept");
        let without = alter(&renamed, "DROP COLUMN a3").unwrap().table;
        assert!(alter(&without, "ADD COLUMN a INT").is_ok(), "it goes with its column");
        assert!(plan_rename(&table(true), "a", "x", Version { major: 3, minor: 3, patch: 1 }).is_err());
    }

    #[test]
    fn a_name_that_is_there_is_refused_in_any_case() {
        for to in ["b", "B", "A"] {
            let error = plan_rename(&table(true), "a", to, V35).unwrap_err().message;
            assert_eq!(error, format!("Duplicate column name '{to}'"));
        }
        assert_eq!(plan_rename(&table(true), "x", "y", V35).unwrap_err().message, "Unknown column 'x' in 't'");
        assert!(refusal("ADD COLUMN a BIGINT").starts_with("Can not add column which already exists in column id: a"));
    }

    #[test]
    fn added_columns_take_their_place() {
        let plan = alter(&table(true), "ADD COLUMN n INT AFTER a").unwrap();
        let names: Vec<_> = plan.table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["k", "a", "n", "b", "c", "v", "s"]);
        assert!(alter(&table(true), "ADD COLUMN n INT FIRST").is_err());
    }
}
