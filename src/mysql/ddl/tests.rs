use proptest::prelude::*;

use super::*;
use crate::schema::Generated;

fn read(sql: &str) -> Ddl {
    parse(sql, Session { database: "shop", ..Session::default() })
        .unwrap_or_else(|unread| panic!("{sql}: {unread}"))
        .unwrap_or_else(|| panic!("{sql}: not about tables"))
}

fn changes(clauses: &str) -> Vec<TableChange> {
    let sql = format!("ALTER TABLE t {clauses}");
    match read(&sql) {
        Ddl::AlterTable(alter) => alter.changes,
        other => panic!("{sql}: {other:?}"),
    }
}

/// A column in short: `name type[/charset] [NULL|NOT NULL] …`
fn short(column: &ColumnDefinition) -> String {
    let mut text = format!("{} {}", column.name, column.ty.text);
    for (mark, name) in [("/", &column.ty.charset), ("~", &column.ty.collation)] {
        if let Some(name) = name {
            text.push_str(mark);
            text.push_str(name);
        }
    }
    match column.nullable {
        Some(true) => text.push_str(" NULL"),
        Some(false) => text.push_str(" NOT NULL"),
        None => {}
    }
    match &column.default {
        None => {}
        Some(DefaultClause::Null) => text.push_str(" =NULL"),
        Some(DefaultClause::Literal(value)) => text.push_str(&format!(" ='{value}'")),
        Some(DefaultClause::CurrentTimestamp) => text.push_str(" =now"),
        Some(DefaultClause::Expression(value)) => text.push_str(&format!(" =({value})")),
    }
    match column.generated {
        Generated::No => {}
        Generated::Virtual => text.push_str(" virtual"),
        Generated::Stored => text.push_str(" stored"),
    }
    for (is, word) in [(column.invisible, " hidden"), (column.primary, " primary"), (column.unique, " unique")] {
        if is {
            text.push_str(word);
        }
    }
    if !column.comment.is_empty() {
        text.push_str(&format!(" #{}", column.comment));
    }
    text
}

fn column(definition: &str) -> String {
    match changes(&format!("ADD COLUMN {definition}")).as_slice() {
        [TableChange::AddColumn { column, place: ColumnPlace::Unsaid, .. }] => short(column),
        other => panic!("{definition}: {other:?}"),
    }
}

#[test]
fn types_are_told_in_the_catalogues_words() {
    for (written, read) in [
        ("INT", "int"),
        ("INTEGER(11) UNSIGNED ZEROFILL", "int(11) unsigned"),
        ("bool", "tinyint(1)"),
        ("int1", "tinyint"),
        ("INT2 SIGNED", "smallint"),
        ("middleint", "mediumint"),
        ("INT8 ZEROFILL", "bigint unsigned"),
        ("DEC(10)", "decimal(10)"),
        ("NUMERIC(10, 2) unsigned", "decimal(10,2) unsigned"),
        ("FIXED", "decimal"),
        ("FLOAT(24)", "float"),
        ("FLOAT(25)", "double"),
        ("FLOAT(7,3)", "float"),
        ("FLOAT4", "float"),
        ("DOUBLE PRECISION(10,3)", "double(10,3)"),
        ("REAL", "real"),
        ("BIT(7)", "bit(7)"),
        ("CHAR", "char"),
        ("CHARACTER(3)", "char(3)"),
        ("CHAR(3) BYTE", "char(3)/binary"),
        ("CHARACTER VARYING(20)", "varchar(20)"),
        ("VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin", "varchar(20)/latin1~latin1_bin"),
        ("VARCHAR(20) CHARSET = 'UTF8MB4'", "varchar(20)/utf8mb4"),
        ("VARCHAR(9) ASCII", "varchar(9)/latin1"),
        ("NATIONAL VARCHAR(9)", "varchar(9)/utf8mb3"),
        ("NATIONAL CHARACTER VARYING(9)", "varchar(9)/utf8mb3"),
        ("NCHAR(4)", "char(4)/utf8mb3"),
        ("NVARCHAR(4)", "varchar(4)/utf8mb3"),
        ("LONG", "mediumtext"),
        ("LONG VARCHAR", "mediumtext"),
        ("LONG VARBINARY", "mediumblob"),
        ("TEXT(1000)", "text(1000)"),
        ("BLOB(1000)", "blob(1000)"),
        ("BLOB(100000)", "blob(100000)"),
        ("MEDIUMTEXT", "mediumtext"),
        ("DATETIME(6)", "datetime(6)"),
        ("YEAR(4)", "year(4)"),
        ("ENUM('a', 'b,c', 'it''s', \"d\\\\e\")", "enum('a','b,c','it''s','d\\\\e')"),
        ("SET('x','y') CHARACTER SET utf8mb4", "set('x','y')/utf8mb4"),
        ("JSON", "json"),
        ("POINT SRID 4326", "point"),
        ("GEOMETRYCOLLECTION", "geometrycollection"),
        ("VECTOR(3)", "vector(3)"),
        ("UUID", "uuid"),
        ("INET6", "inet6"),
        ("VARCHAR(10) COMPRESSED", "varchar(10) /*M!100301 COMPRESSED*/"),
    ] {
        assert_eq!(column(&format!("c {written}")), format!("c {read}"), "{written}");
    }
    assert_eq!(column("c SERIAL"), "c bigint unsigned NOT NULL unique");
}

#[test]
fn attributes_come_in_any_order() {
    for (written, read) in [
        ("c INT NOT NULL DEFAULT 5 COMMENT 'why'", "c int NOT NULL ='5' #why"),
        ("c INT COMMENT 'why' DEFAULT -5 NULL", "c int NULL ='-5' #why"),
        ("c INT DEFAULT NULL", "c int =NULL"),
        ("c VARCHAR(9) DEFAULT 'a' 'b' NOT NULL", "c varchar(9) NOT NULL ='ab'"),
        ("c VARCHAR(9) DEFAULT _utf8mb4'x'", "c varchar(9) ='x'"),
        ("c BIT(3) DEFAULT b'101'", "c bit(3) ='5'"),
        ("c BOOL DEFAULT TRUE", "c tinyint(1) ='1'"),
        ("c DATE DEFAULT DATE '2024-01-31'", "c date ='2024-01-31'"),
        ("c DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)", "c datetime(3) =now"),
        ("c TIMESTAMP NULL DEFAULT NOW()", "c timestamp NULL =now"),
        ("c INT DEFAULT (1 + 2) NOT NULL", "c int NOT NULL =(( 1 + 2 ))"),
        ("c CHAR(36) DEFAULT uuid() COMMENT 'x'", "c char(36) =(uuid ( )) #x"),
        ("c INT AUTO_INCREMENT PRIMARY KEY", "c int primary"),
        ("c INT KEY", "c int primary"),
        ("c INT UNIQUE KEY", "c int unique"),
        ("c INT GENERATED ALWAYS AS (a + (b * 2)) STORED NOT NULL", "c int NOT NULL stored"),
        ("c INT AS (a + 1)", "c int virtual"),
        ("c INT AS (a + 1) PERSISTENT", "c int stored"),
        ("c INT INVISIBLE DEFAULT 1", "c int ='1' hidden"),
        ("c INT CONSTRAINT x CHECK (c > 0) NOT ENFORCED", "c int"),
        ("c INT REFERENCES other (id) MATCH FULL ON DELETE SET NULL ON UPDATE NO ACTION", "c int"),
        ("c INT COLUMN_FORMAT DYNAMIC STORAGE DISK", "c int"),
        ("c VARCHAR(5) COLLATE utf8mb4_bin NOT NULL", "c varchar(5)~utf8mb4_bin NOT NULL"),
        ("`select` INT", "select int"),
        ("`a``b` INT", "a`b int"),
        ("größe INT", "größe int"),
        ("1st INT", "1st int"),
        ("period INT", "period int"),
        ("system INT", "system int"),
        ("vector VECTOR(2)", "vector vector(2)"),
        ("comment TEXT COMMENT ''", "comment text"),
    ] {
        assert_eq!(column(written), read, "{written}");
    }
}

/// A key over columns, of which `""` stands for an expression.
fn key(kind: KeyKind, name: Option<&str>, columns: &[&str]) -> TableChange {
    let columns = columns.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect();
    TableChange::AddKey(KeyDefinition { kind, name: name.map(str::to_owned), columns, if_there: IfThere::Refused })
}

#[test]
fn clauses_say_what_they_change() {
    use TableChange::{DropConstraint, DropKey, DropPrimaryKey, Nothing, RenameKey, RenameTo};
    let primary = |columns: &[&str]| key(KeyKind::Primary, None, columns);
    let unique = |name: Option<&str>, columns: &[&str]| key(KeyKind::Unique, name, columns);
    let index = |name: Option<&str>, columns: &[&str]| key(KeyKind::Plain, name, columns);
    for (clauses, read) in [
        ("ADD PRIMARY KEY (a, `b`)", vec![primary(&["a", "b"])]),
        ("ADD CONSTRAINT pk PRIMARY KEY USING BTREE (a)", vec![primary(&["a"])]),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (a)", vec![DropPrimaryKey, primary(&["a"])]),
        ("ADD UNIQUE INDEX u (a, b DESC)", vec![unique(Some("u"), &["a", "b"])]),
        ("ADD CONSTRAINT c UNIQUE (a(10))", vec![unique(Some("c"), &["a"])]),
        ("ADD UNIQUE ((lower(a)))", vec![unique(None, &[""])]),
        ("ADD INDEX i USING HASH (a) COMMENT 'x' INVISIBLE", vec![index(Some("i"), &["a"])]),
        ("ADD FULLTEXT KEY f (a) WITH PARSER ngram", vec![index(Some("f"), &["a"])]),
        ("ADD SPATIAL INDEX (g)", vec![index(None, &["g"])]),
        ("ADD FOREIGN KEY (a) REFERENCES x.y (b) ON DELETE CASCADE", vec![Nothing]),
        ("ADD CONSTRAINT `f` FOREIGN KEY IF NOT EXISTS k (a, b) REFERENCES y (a, b)", vec![Nothing]),
        ("ADD CONSTRAINT CHECK (a > 0)", vec![Nothing]),
        ("DROP INDEX i, DROP FOREIGN KEY f, DROP CHECK c", vec![DropKey("i".into()), Nothing, Nothing]),
        ("DROP CONSTRAINT u", vec![DropConstraint { name: "u".into(), if_exists: false }]),
        ("DROP CONSTRAINT IF EXISTS u", vec![DropConstraint { name: "u".into(), if_exists: true }]),
        ("DROP KEY `PRIMARY`", vec![DropPrimaryKey]),
        ("RENAME INDEX a TO b", vec![RenameKey { old: "a".into(), new: "b".into() }]),
        ("RENAME TO x", vec![RenameTo(TableName::new("shop", "x"))]),
        ("RENAME = other.x", vec![RenameTo(TableName::new("other", "x"))]),
        ("RENAME AS `x`", vec![RenameTo(TableName::new("shop", "x"))]),
        ("ENGINE = InnoDB, ALGORITHM=INPLACE, LOCK NONE", vec![Nothing, Nothing, Nothing]),
        ("FORCE", vec![Nothing]),
        ("DISABLE KEYS", vec![Nothing]),
        ("AUTO_INCREMENT = 100 ROW_FORMAT COMPRESSED KEY_BLOCK_SIZE=8", vec![Nothing, Nothing, Nothing]),
        ("ORDER BY a, b DESC", vec![Nothing]),
        (
            "PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
            vec![Nothing],
        ),
        ("ADD PARTITION (PARTITION p2 VALUES LESS THAN (20))", vec![Nothing]),
        (
            "REORGANIZE PARTITION p0 INTO (PARTITION a VALUES LESS THAN (5), PARTITION b VALUES LESS THAN (10))",
            vec![Nothing],
        ),
        ("COALESCE PARTITION 2", vec![Nothing]),
        ("REMOVE PARTITIONING", vec![Nothing]),
        ("ALTER INDEX i INVISIBLE, ALTER CHECK c NOT ENFORCED", vec![Nothing, Nothing]),
        ("`PAGE_X`=1", vec![Nothing]),
    ] {
        assert_eq!(changes(clauses), read, "{clauses}");
    }
}

#[test]
fn columns_are_added_changed_renamed_and_dropped() {
    let shown = |clauses: &str| -> Vec<String> {
        let show = |change: &TableChange| match change {
            TableChange::AddColumn { column, place, if_not_exists } => {
                format!("add {} {place:?}{}", short(column), if *if_not_exists { " ?" } else { "" })
            }
            TableChange::ChangeColumn { old, column, place, .. } => format!("{old} -> {} {place:?}", short(column)),
            TableChange::AddKey(key) => {
                format!("{:?} key {:?} over {:?} {:?}", key.kind, key.name, key.columns, key.if_there)
            }
            TableChange::RowsUnlogged(Unlogged { clause, other: None }) => format!("rows: {clause}"),
            TableChange::RowsUnlogged(Unlogged { clause, other: Some(other) }) => {
                let (Other::Exchanged(name) | Other::Made(name) | Other::Taken(name)) = other;
                format!("rows of {name}: {clause}")
            }
            other => format!("{other:?}"),
        };
        changes(clauses).iter().map(show).collect()
    };
    for (clauses, read) in [
        ("ADD c INT FIRST", &["add c int First"][..]),
        ("ADD COLUMN c INT NOT NULL AFTER `b`", &["add c int NOT NULL After(\"b\")"]),
        (
            "ADD COLUMN (a INT, b VARCHAR(3) DEFAULT 'x', KEY (a))",
            &["add a int Unsaid", "add b varchar(3) ='x' Unsaid", "Plain key None over [Some(\"a\")] Refused"],
        ),
        ("ADD COLUMN IF NOT EXISTS c INT", &["add c int Unsaid ?"]),
        ("CHANGE a b BIGINT AFTER c", &["a -> b bigint After(\"c\")"]),
        ("CHANGE COLUMN `a` `a` TEXT COMMENT 'x,y)'", &["a -> a text #x,y) Unsaid"]),
        ("MODIFY a DECIMAL(10,2) NOT NULL FIRST", &["a -> a decimal(10,2) NOT NULL First"]),
        ("MODIFY COLUMN IF EXISTS a INT", &["a -> a int Unsaid"]),
        (
            "DROP a, DROP COLUMN b",
            &["DropColumn { name: \"a\", if_exists: false }", "DropColumn { name: \"b\", if_exists: false }"],
        ),
        ("DROP COLUMN IF EXISTS a RESTRICT", &["DropColumn { name: \"a\", if_exists: true }"]),
        (
            "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            &[
                "RenameColumn { old: \"a\", new: \"b\", if_exists: false }",
                "RenameColumn { old: \"b\", new: \"a\", if_exists: false }",
            ],
        ),
        (
            "ALTER a SET DEFAULT 7, ALTER COLUMN b DROP DEFAULT",
            &[
                "SetDefault { column: \"a\", default: Some(Literal(\"7\")), if_exists: false }",
                "SetDefault { column: \"b\", default: None, if_exists: false }",
            ],
        ),
        (
            "ALTER a SET DEFAULT (uuid())",
            &["SetDefault { column: \"a\", default: Some(Expression(\"( uuid ( ) )\")), if_exists: false }"],
        ),
        ("ALTER COLUMN IF EXISTS a DROP DEFAULT", &["SetDefault { column: \"a\", default: None, if_exists: true }"]),
        ("ADD UNIQUE IF NOT EXISTS u (a)", &["Unique key Some(\"u\") over [Some(\"a\")] Kept"]),
        ("ADD CONSTRAINT IF NOT EXISTS u UNIQUE (a)", &["Unique key Some(\"u\") over [Some(\"a\")] Kept"]),
        ("ADD PRIMARY KEY IF NOT EXISTS (a)", &["Primary key None over [Some(\"a\")] Kept"]),
        ("ALTER a SET INVISIBLE", &["SetVisible { column: \"a\", visible: false }"]),
        (
            "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            &["ConvertCharset(Charset { charset: Some(\"utf8mb4\"), collation: Some(\"utf8mb4_bin\") })"],
        ),
        ("CONVERT TO CHARACTER SET DEFAULT", &["ConvertCharset(Charset { charset: None, collation: None })"]),
        ("DEFAULT CHARSET=latin1", &["DefaultCharset(Charset { charset: Some(\"latin1\"), collation: None })"]),
        ("COMMENT 'it''s'", &["Comment(\"it's\")"]),
        ("DROP PARTITION p0, p1", &["rows: DROP PARTITION p0 , p1"]),
        ("TRUNCATE PARTITION ALL", &["rows: TRUNCATE PARTITION ALL"]),
        (
            "EXCHANGE PARTITION p WITH TABLE q WITHOUT VALIDATION",
            &["rows of shop.q: EXCHANGE PARTITION p WITH TABLE q WITHOUT VALIDATION"],
        ),
        (
            "EXCHANGE PARTITION p WITH TABLE x.q WITH VALIDATION",
            &["rows of x.q: EXCHANGE PARTITION p WITH TABLE x . q WITH VALIDATION"],
        ),
        ("CONVERT PARTITION p TO TABLE q", &["rows of shop.q: CONVERT PARTITION p TO TABLE q"]),
        (
            "CONVERT TABLE q TO PARTITION p VALUES LESS THAN (3)",
            &["rows of shop.q: CONVERT TABLE q TO PARTITION p VALUES LESS THAN ( 3 )"],
        ),
        ("IMPORT TABLESPACE", &["rows: IMPORT TABLESPACE"]),
        ("DISCARD TABLESPACE", &["Discard(\"DISCARD TABLESPACE\")"]),
        ("DISCARD PARTITION p0, p1 TABLESPACE", &["Discard(\"DISCARD PARTITION p0 , p1 TABLESPACE\")"]),
        ("ADD c INT NOT SECONDARY", &["add c int Unsaid"]),
        ("ADD SYSTEM VERSIONING", &["SystemVersioning"]),
    ] {
        assert_eq!(shown(clauses), read, "{clauses}");
    }
}

#[test]
fn tables_are_created_dropped_renamed_and_emptied() {
    let name = TableName::new;
    let created = |sql: &str| match read(sql) {
        Ddl::CreateTable(create) => create,
        other => panic!("{sql}: {other:?}"),
    };
    let create = created(
        "CREATE TABLE IF NOT EXISTS `crm`.`t` (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
            name VARCHAR(100) CHARACTER SET utf8mb4 DEFAULT NULL,
            PRIMARY KEY (`id`), KEY `k` (`name`(10)), CONSTRAINT `f` FOREIGN KEY (`id`) REFERENCES `o` (`id`)
        ) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='people'
        /*!50100 PARTITION BY HASH (id) PARTITIONS 4 */",
    );
    assert_eq!((create.table, create.if_not_exists), (name("crm", "t"), true));
    let Content::Definition(changes) = create.content else { panic!("{:?}", create.content) };
    assert_eq!(changes.len(), 9);
    assert_eq!(changes[2], key(KeyKind::Primary, None, &["id"]));
    assert_eq!(changes[8], TableChange::Comment("people".into()));
    assert_eq!(created("CREATE TABLE a LIKE b.c").content, Content::Like(name("b", "c")));
    assert_eq!(created("CREATE TABLE a (LIKE c)").content, Content::Like(name("shop", "c")));
    for query in [
        "CREATE TABLE a SELECT * FROM b",
        "CREATE TABLE a (id INT) ENGINE=InnoDB AS SELECT 1 AS id",
        "CREATE TABLE a AS (SELECT 1)",
        "CREATE TABLE a (SELECT 1)",
        "CREATE TABLE a (id INT PRIMARY KEY) IGNORE SELECT 1",
    ] {
        assert_eq!(created(query).content, Content::Query, "{query}");
    }
    assert!(created("CREATE OR REPLACE TABLE a (id INT)").or_replace);
    assert_eq!(
        read("DROP TABLE IF EXISTS a, b.c CASCADE"),
        Ddl::DropTables { tables: vec![name("shop", "a"), name("b", "c")], if_exists: true }
    );
    assert_eq!(
        read("RENAME TABLE a TO tmp, b TO a, tmp TO x.b"),
        Ddl::RenameTables(vec![
            (name("shop", "a"), name("shop", "tmp")),
            (name("shop", "b"), name("shop", "a")),
            (name("shop", "tmp"), name("x", "b")),
        ])
    );
    assert_eq!(read("TRUNCATE t"), Ddl::TruncateTable(name("shop", "t")));
    assert_eq!(read("TRUNCATE TABLE t WAIT 5"), Ddl::TruncateTable(name("shop", "t")));
}

#[test]
fn databases_have_a_character_set() {
    let charset = |name: &str| Some(Charset { charset: Some(name.into()), collation: None });
    let create = |charset| Ddl::CreateDatabase { name: "d".into(), if_not_exists: false, charset };
    assert_eq!(read("CREATE DATABASE d"), create(None));
    assert_eq!(
        read("CREATE SCHEMA `d` DEFAULT CHARACTER SET = latin1 DEFAULT ENCRYPTION 'n'"),
        create(charset("latin1"))
    );
    assert_eq!(
        read("CREATE DATABASE IF NOT EXISTS d COLLATE utf8mb4_bin COMMENT 'x'"),
        Ddl::CreateDatabase {
            name: "d".into(),
            if_not_exists: true,
            charset: Some(Charset { charset: None, collation: Some("utf8mb4_bin".into()) }),
        }
    );
    assert_eq!(
        read("ALTER DATABASE d CHARSET utf8mb4"),
        Ddl::AlterDatabase { name: Some("d".into()), charset: charset("utf8mb4") }
    );
    assert_eq!(
        read("ALTER SCHEMA CHARACTER SET latin1"),
        Ddl::AlterDatabase { name: None, charset: charset("latin1") }
    );
    assert_eq!(read("ALTER DATABASE d READ ONLY = 1"), Ddl::AlterDatabase { name: Some("d".into()), charset: None });
    assert_eq!(read("DROP DATABASE IF EXISTS `d e`"), Ddl::DropDatabase("d e".into()));
}

#[test]
fn indexes_are_alterations() {
    let table = Table {
        name: TableName::new("shop", "t"),
        columns: Vec::new(),
        key: Vec::new(),
        primary: true,
        charset: None,
        indexes: Vec::new(),
        comment: String::new(),
    };
    let unique = Table { primary: false, ..table.clone() };
    for (sql, harmless) in [
        ("CREATE INDEX i ON t (a)", true),
        ("CREATE UNIQUE INDEX i USING BTREE ON t (a) COMMENT 'x' ALGORITHM=INPLACE", true),
        ("CREATE FULLTEXT INDEX i ON t (a) WITH PARSER ngram", true),
        ("DROP INDEX i ON t ALGORITHM=INPLACE", true),
        ("DROP INDEX `PRIMARY` ON t", false),
        ("ALTER TABLE t ADD KEY (a), ENGINE=InnoDB", true),
        ("ALTER TABLE t ADD KEY (a), ADD b INT", false),
        ("ALTER TABLE t COMMENT 'x'", false),
        ("ALTER TABLE t", true),
        ("/*!40000 ALTER TABLE `t` DISABLE KEYS */", true),
    ] {
        match read(sql) {
            Ddl::AlterTable(alter) => {
                assert_eq!(alter.is_harmless(&table), harmless, "{sql}");
                assert_eq!(
                    alter.is_harmless(&unique),
                    harmless && !sql.contains("UNIQUE") && !sql.starts_with("DROP INDEX"),
                    "{sql}"
                );
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_about_lasting_tables_is_none() {
    for sql in [
        "CREATE TEMPORARY TABLE t (id INT)",
        "DROP TEMPORARY TABLE t",
        "CREATE VIEW v AS SELECT 1",
        "DROP VIEW v",
        "GRANT ALL ON *.* TO a",
        "CREATE DEFINER=`a`@`%` TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
        "INSERT INTO t VALUES (1)",
    ] {
        assert_eq!(parse(sql, Session { database: "shop", ..Session::default() }), Ok(None), "{sql}");
    }
}

#[test]
fn what_is_not_understood_says_where() {
    for (sql, reason) in [
        (
            "ALTER TABLE t DROP SYSTEM VERSIONING",
            "expected a column or a key (system versioning is not followed), found `SYSTEM`",
        ),
        ("ALTER TABLE t FROBNICATE", "expected a clause of ALTER TABLE, found `FROBNICATE`"),
        ("ALTER TABLE t ADD c INT SOMEHOW", "expected a clause of ALTER TABLE, found `SOMEHOW`"),
        ("ALTER TABLE t ADD c", "expected a type, found the statement's end"),
        ("CREATE TABLE t", "expected a table's columns, found the statement's end"),
        ("RENAME TABLE a b", "expected TO, found `b`"),
    ] {
        let unread = parse(sql, Session { database: "shop", ..Session::default() }).unwrap_err();
        assert_eq!(unread.reason, reason, "{sql}");
    }
    let unread = parse("TRUNCATE t", Session::default()).unwrap_err();
    assert_eq!(unread.reason, "the table t is named without a database");
}

#[test]
fn text_reads_as_the_sessions_mode_says() {
    let with = |sql: &str, session| match parse(sql, session).unwrap().unwrap() {
        Ddl::AlterTable(alter) => alter.changes,
        other => panic!("{other:?}"),
    };
    let plain = Session { database: "d", ..Session::default() };
    let raw = Session { no_backslash_escapes: true, ..plain };
    assert_eq!(with(r"ALTER TABLE t COMMENT 'a\'b'", plain), [TableChange::Comment("a'b".into())]);
    assert_eq!(with(r"ALTER TABLE t COMMENT 'a\'", raw), [TableChange::Comment(r"a\".into())]);
    let ansi = Session { ansi_quotes: true, ..plain };
    let changes = with(r#"ALTER TABLE "t" ADD "c d" INT DEFAULT 5"#, ansi);
    assert!(matches!(&changes[0], TableChange::AddColumn { column, .. } if column.name == "c d"), "{changes:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(sql in "(CREATE|ALTER|DROP|RENAME|TRUNCATE) (TABLE|INDEX)? ?[A-Za-z0-9 `'\"(),.=;-]{0,80}") {
        let _ = parse(&sql, Session { database: "d", ..Session::default() });
    }

    #[test]
    fn no_clause_makes_it_panic(
        clauses in proptest::collection::vec("(ADD|DROP|MODIFY|CHANGE|ALTER|CONVERT|RENAME|DEFAULT|COLUMN|KEY|INT|ENUM|\\(|\\)|,|'a'|b|COMMENT|CHECK|=|NOT NULL|FIRST|UNIQUE|CHARACTER SET|5|-)", 0..14)
    ) {
        let _ = parse(&format!("ALTER TABLE t {}", clauses.join(" ")), Session { database: "d", ..Session::default() });
    }
}
