//! The corpus: column types, literals, and what both decoders must give for them.

use super::*;

/// What a cell must be.
enum Expected {
    /// `kind` and the text of this expression over the column `c`, which the server evaluates.
    Server(&'static str, &'static str),
    /// Exactly these cells, in the literals' order.
    Cells(&'static [&'static str]),
}

use Expected::{Cells as Exactly, Server};

struct Case {
    ddl: &'static str,
    literals: &'static [&'static str],
    expected: Expected,
}

const fn case(ddl: &'static str, literals: &'static [&'static str], expected: Expected) -> Case {
    Case { ddl, literals, expected }
}

const NUMBER: Expected = Server("number", "c");
const PLAIN: Expected = Server("plain", "CAST(c AS CHAR)");
const TEXT: Expected = Server("text", "CONVERT(c USING utf8mb4)");
const LONG_LAT: Expected = Server("text", "ST_AsText(c, 'axis-order=long-lat')");
const BYTES: Expected = Server("binary", "HEX(c)");

const BOTH: &[Case] = &[
    case("TINYINT", &["-128", "-1", "0", "127", "NULL"], NUMBER),
    case("TINYINT(1)", &["0", "1", "2", "-1"], NUMBER),
    case("TINYINT UNSIGNED", &["0", "255", "NULL"], NUMBER),
    case("SMALLINT", &["-32768", "32767"], NUMBER),
    case("SMALLINT UNSIGNED", &["65535"], NUMBER),
    case("MEDIUMINT", &["-8388608", "8388607", "-1"], NUMBER),
    case("MEDIUMINT UNSIGNED", &["16777215"], NUMBER),
    case("INT", &["-2147483648", "2147483647"], NUMBER),
    case("INT UNSIGNED", &["4294967295"], NUMBER),
    case("INT(10) ZEROFILL", &["42"], Exactly(&["number 42"])),
    case("BIGINT", &["-9223372036854775808", "9223372036854775807"], NUMBER),
    case("BIGINT UNSIGNED", &["0", "18446744073709551615"], NUMBER),
    case("DECIMAL(10,2)", &["0", "-0.01", "99999999.99", "-99999999.99", "1.5", "NULL"], NUMBER),
    case(
        "DECIMAL(65,30)",
        &["99999999999999999999999999999999999.999999999999999999999999999999", "-1e-30", "0"],
        NUMBER,
    ),
    case("DECIMAL(65,0)", &["-99999999999999999999999999999999999999999999999999999999999999999", "7"], NUMBER),
    case("DECIMAL(30,30)", &["0.999999999999999999999999999999", "-0.1", "0"], NUMBER),
    case("DECIMAL(9,9)", &["0.000000001", "0.123456789"], NUMBER),
    case("DECIMAL(20,10)", &["1234567890.0987654321", "-1000000000.0000000001"], NUMBER),
    case("DECIMAL(1,0)", &["9", "-9"], NUMBER),
    case("DECIMAL(8,2) ZEROFILL", &["1.5"], Exactly(&["number 1.50"])),
    case(
        "FLOAT",
        &["0", "0.1", "-1.5", "3.4028234e38", "1.17549435e-38", "16777216", "123456.789", "1e15", "1e-7"],
        Exactly(&[
            "number 0",
            "number 0.1",
            "number -1.5",
            "number 3.4028235e38",
            "number 1.1754944e-38",
            "number 16777216",
            "number 123456.79",
            "number 1e15",
            "number 0.0000001",
        ]),
    ),
    case(
        "FLOAT",
        &["1e-45", "-1e-45", "-3.4028234e38", "16777217", "0.3", "8388608.5", "NULL"],
        Exactly(&[
            "number 1e-45",
            "number -1e-45",
            "number -3.4028235e38",
            "number 16777216",
            "number 0.3",
            "number 8388608",
            "null",
        ]),
    ),
    case("FLOAT UNSIGNED", &["0.1"], Exactly(&["number 0.1"])),
    case(
        "DOUBLE",
        &["-2.2250738585072014e-308", "2.2250738585072011e-308", "-5e-324", "1e23", "9007199254740993"],
        NUMBER,
    ),
    case("DOUBLE(10,3)", &["1.0005", "-1234567.891"], Exactly(&["number 1", "number -1234567.891"])),
    case("FLOAT(7,2)", &["1.005", "99999.99"], Exactly(&["number 1", "number 99999.99"])),
    case(
        "DOUBLE",
        &["0", "-0e0", "0.1", "1e15", "123456789012345", "1.7976931348623157e308", "5e-324", "1e-5", "NULL", "0.3e0"],
        NUMBER,
    ),
    case("BIT(1)", &["b'0'", "b'1'", "NULL"], Server("number", "c+0")),
    case("BIT(9)", &["b'0'", "b'111111111'", "b'100000001'"], Server("number", "c+0")),
    case("BIT(7)", &["127", "64"], Server("number", "c+0")),
    case("BIT(8)", &["255", "1"], Server("number", "c+0")),
    case("BIT(33)", &["8589934591", "4294967296"], Server("number", "c+0")),
    case("BIT(63)", &["9223372036854775807"], Server("number", "c+0")),
    case("BIT(64)", &["0", "18446744073709551615", "1"], Server("number", "c+0")),
    case(
        "YEAR",
        &["1901", "2155", "0", "2024", "NULL"],
        Exactly(&["number 1901", "number 2155", "number 0", "number 2024", "null"]),
    ),
    case("DATE", &["'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'0001-01-01'", "NULL"], PLAIN),
    case("DATE", &["'0000-00-00'", "'2020-00-10'", "'2020-01-00'"], Exactly(&["null", "null", "null"])),
    case(
        "DATE",
        &["'0000-01-01'", "'2021-02-30'", "'1582-10-10'"],
        Exactly(&["plain 0000-01-01", "null", "plain 1582-10-10"]),
    ),
    case("DATETIME", &["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "NULL"], PLAIN),
    case("DATETIME(1)", &["'2024-01-02 03:04:05.6'", "'2024-01-02 03:04:05'"], PLAIN),
    case("DATETIME(2)", &["'2024-01-02 03:04:05.67'"], PLAIN),
    case("DATETIME(3)", &["'2024-01-02 03:04:05.678'", "'1969-12-31 23:59:59.999'"], PLAIN),
    case("DATETIME(4)", &["'2024-01-02 03:04:05.6789'"], PLAIN),
    case("DATETIME(5)", &["'2024-01-02 03:04:05.67891'"], PLAIN),
    case("DATETIME(6)", &["'9999-12-31 23:59:59.999999'", "'2024-01-02 03:04:05.000001'"], PLAIN),
    case("DATETIME(3)", &["'0000-00-00'", "'2020-00-10 01:02:03.5'"], Exactly(&["null", "null"])),
    case("TIMESTAMP NULL", &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "NULL"], PLAIN),
    case("TIMESTAMP(6) NULL", &["'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.999999'"], PLAIN),
    case("TIMESTAMP(3) NULL", &["'2024-03-31 02:30:00.120'", "'2001-09-09 01:46:40.5'"], PLAIN),
    case("TIMESTAMP NULL", &["'0000-00-00 00:00:00'"], Exactly(&["null"])),
    case("TIME", &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'100:00:00'", "NULL"], PLAIN),
    case("TIME(1)", &["'-00:00:00.1'", "'01:02:03.9'", "'-12:59:59.5'"], PLAIN),
    case("TIME(2)", &["'-00:00:00.01'", "'-838:59:58.99'"], PLAIN),
    case("TIME(3)", &["'-00:00:01.001'", "'23:59:59.999'"], PLAIN),
    case("TIME(4)", &["'-01:00:00.0001'", "'23:59:59.9999'"], PLAIN),
    case("TIME(5)", &["'-01:00:00.00001'"], PLAIN),
    case("TIME(6)", &["'-838:59:58.999999'", "'-00:00:00.000001'", "'00:00:00.000001'"], PLAIN),
    case("CHAR(10)", &["''", "'abc'", "'abc  '", "'é😀'", "NULL"], TEXT),
    case("CHAR(255)", &["REPEAT('é', 255)", "'x'"], TEXT),
    case("CHAR(4)", &["'a\\t'", "'  '", "'a\\0'", "'\\0'", "' a b'", "'\\n'"], TEXT),
    case("CHAR(4) COLLATE utf8mb4_bin", &["'a '", "'a'", "'é  '"], TEXT),
    case("CHAR(4) CHARACTER SET gbk", &["'你 '", "'a'"], TEXT),
    case("CHAR(4) CHARACTER SET utf16", &["'a '", "'😀'"], TEXT),
    case("VARCHAR(63)", &["REPEAT('😀', 63)", "''"], TEXT),
    case("VARCHAR(64)", &["REPEAT('😀', 64)", "'x'"], TEXT),
    case("VARCHAR(9) CHARACTER SET cp932", &["'①ソ'", "UNHEX('FA59')", "UNHEX('815F')"], TEXT),
    case("CHAR(0)", &["''", "NULL"], TEXT),
    case("CHAR(4) CHARACTER SET ucs2", &["'ab'", "'€'"], TEXT),
    case("CHAR(4) CHARACTER SET utf32", &["'ab'", "'😀'"], TEXT),
    case("CHAR(4) CHARACTER SET utf16le", &["'ab'", "'😀'"], TEXT),
    case("VARCHAR(10)", &["''", "'a '", "' a'", "'tab\\tnew\\nnul\\0'", "'\\\\N'", "'\\'\"'", "NULL"], TEXT),
    case("VARCHAR(255) CHARACTER SET latin1", &["'é€'", "UNHEX('818D8F909D')", "REPEAT('ÿ', 255)"], TEXT),
    case("VARCHAR(256) CHARACTER SET latin1", &["'é'", "REPEAT('x', 256)"], TEXT),
    case("VARCHAR(16000)", &["REPEAT('😀', 16000)"], TEXT),
    case("TINYTEXT", &["''", "REPEAT('x', 255)"], TEXT),
    case("TEXT", &["''", "REPEAT('é', 30000)", "NULL"], TEXT),
    case("MEDIUMTEXT CHARACTER SET gbk", &["'你好'", "REPEAT('你', 100000)"], TEXT),
    case("LONGTEXT CHARACTER SET utf8mb3", &["'é'", "REPEAT('€', 100000)"], TEXT),
    case("BINARY(5)", &["'a'", "UNHEX('0000000000')", "UNHEX('0102030000')", "''", "'a  '"], BYTES),
    case("BINARY(255)", &["REPEAT(UNHEX('FF'), 255)"], BYTES),
    case("VARBINARY(300)", &["''", "UNHEX('00FF00')", "REPEAT('x', 300)", "NULL"], BYTES),
    case("TINYBLOB", &["''", "UNHEX('00')"], BYTES),
    case("BLOB", &["REPEAT(UNHEX('00FF'), 30000)"], BYTES),
    case("MEDIUMBLOB", &["REPEAT(UNHEX('0A'), 70000)"], BYTES),
    case("LONGBLOB", &["REPEAT(UNHEX('5C4E'), 40000)", "NULL"], BYTES),
    case("ENUM('a','b','é,x','')", &["'a'", "'é,x'", "''", "0", "NULL"], TEXT),
    case("ENUM('ä','ö') CHARACTER SET latin1", &["'ö'"], TEXT),
    case(
        "ENUM('it''s','a,b','back\\\\slash','new\\nline','tab\\t','\"','nul\\0',' lead',')','(','\\r')",
        EACH_MEMBER,
        TEXT,
    ),
    case(
        "SET('it''s','a(b','back\\\\slash','new\\nline','tab\\t','\"','nul\\0',' lead',')','(','\\r')",
        EACH_MEMBER,
        TEXT,
    ),
    case("ENUM('ソ','表','あ') CHARACTER SET sjis", &["1", "2", "3"], TEXT),
    case("ENUM('a','é€') CHARACTER SET ucs2", &["1", "2"], TEXT),
    case("SET('ж','я') CHARACTER SET cp1251", &["1", "2", "3"], TEXT),
    case("ENUM('a','b?') CHARACTER SET utf8mb3", &["'b?'"], TEXT),
    case(LONG_ENUM, &["1", "255", "256", "257", "'ä3'", "0"], TEXT),
    case("SET('a','b','é')", &["''", "'a'", "'a,é'", "7", "NULL"], TEXT),
    case(
        "SET('1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17','18','19','20','21','22','23',\
         '24','25','26','27','28','29','30','31','32','33','34','35','36','37','38','39','40','41','42','43','44','45',\
         '46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63','64')",
        &["9223372036854775808", "18446744073709551615", "'1,64'"],
        TEXT,
    ),
    case("SET('1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17')", &["'17'", "'1,9'"], TEXT),
];

/// Numbers of members, which for a SET are bits.
const EACH_MEMBER: &[&str] = &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "NULL"];

macro_rules! eight_members {
    ($($prefix:literal)*) => {
        concat!($("'", $prefix, "0','", $prefix, "1','", $prefix, "2','", $prefix, "3','", $prefix, "4','", $prefix, "5','",
            $prefix, "6','", $prefix, "7',"),*)
    };
}

/// 257 members: their numbers take two bytes.
const LONG_ENUM: &str = concat!(
    "ENUM(",
    eight_members!("a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p"),
    eight_members!("q" "r" "s" "t" "u" "v" "w" "x" "y" "z" "é" "ü" "ä" "ß" "ж" "я"),
    "'last, it''s')"
);

const MYSQL: &[Case] = &[
    // MariaDB stores 0 for it.
    case("FLOAT", &["'-0'"], Exactly(&["number -0"])),
    case(
        "JSON",
        &[
            "'null'",
            "'true'",
            "'[]'",
            "'{}'",
            "'{\"b\": 1, \"a\": [1, -2, 65536, 4294967296, 18446744073709551615, -9223372036854775808], \"\": null}'",
            "'\"\\\\u0001\\\\b\\\\t\\\\n\\\\f\\\\r\\\\\"\\\\\\\\/é😀\\\\u007f\\\\u2028\"'",
            "'[1e14,1e15,1e16,1.5e15,1.5,1.0,0.1,1e-4,1e-15,1e-16,1.7976931348623157e308,5e-324,-0.0,123456789012345.6]'",
            "JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST(-99999999999999999.5 AS DECIMAL(30,10)))",
            "JSON_ARRAY(DATE'2020-01-02', TIMESTAMP'2020-01-02 03:04:05.5', TIME'-12:00:01.25', TIME'838:59:59')",
            "JSON_ARRAY(x'00ff', b'101', CAST(REPEAT('x', 200) AS BINARY))",
            "'[9007199254740993, -9007199254740993, 9223372036854775808, 9223372036854775807, 18446744073709551616, 1e308]'",
            "'{\"b\": 1, \"aa\": 2, \"B\": 3, \"é\": 4, \"e\\\\u0301\": 5, \"\": 6, \" \": 7, \"b\": 8, \"\\\\\\\\\": 9}'",
            "CONCAT(REPEAT('[', 90), '{\"a\": null}', REPEAT(']', 90))",
            "CONCAT('[\"', REPEAT('x', 65500), '\", 1, 70000, 2.5]')",
            "CONCAT('[\"', REPEAT('x', 65530), '\", 1, 70000, 2.5]')",
            "CONCAT('{\"', REPEAT('k', 65530), '\": [true, false, null, \"s\", 32768, -32769]}')",
            "CONCAT('[', REPEAT('[],{},', 12000), '-1]')",
            "CONCAT('\"', REPEAT('x', 127), '\"')",
            "CONCAT('\"', REPEAT('é', 8192), '\"')",
            "CAST(CAST('2020-01-02 03:04:05.000001' AS DATETIME(6)) AS JSON)",
            "CAST(CAST('-838:59:59' AS TIME) AS JSON)",
            "CAST(CAST(-0.5 AS DECIMAL(65,30)) AS JSON)",
            "CAST(UNHEX('') AS JSON)",
            "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)",
            "JSON_ARRAY(CAST('0000-00-00' AS DATE), CAST('2020-01-00 00:00:00' AS DATETIME), CAST('2021-00-10' AS DATE))",
            "JSON_OBJECT('k', CAST(REPEAT('x', 57) AS BINARY), 'y', CAST(2024 AS YEAR))",
            "CONCAT('[', REPEAT('\"0123456789012345678901234567890123456789\",', 2000), '70000, \"x\"]')",
            "CONCAT('{\"', REPEAT('k', 300), '\": \"', REPEAT('é', 40000), '\", \"n\": {\"deep\": [[[[{\"a\": 1.25}]]]]}}')",
            "NULL",
        ],
        Server("json", "CAST(c AS CHAR)"),
    ),
    case(
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POINT(-0.1 1e300)')",
            "ST_GeomFromText('LINESTRING(0 0,1 1e-7,100000000000000 1e15)')",
            "ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 0),(1 1,2 1,2 2,1 1))')",
            "ST_GeomFromText('MULTIPOINT(1 1,2 2)')",
            "ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')",
            "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),GEOMETRYCOLLECTION(LINESTRING(1 2,3 4)))')",
            "ST_GeomFromText('GEOMETRYCOLLECTION()')",
            "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(GEOMETRYCOLLECTION EMPTY,MULTIPOINT(0 0),MULTIPOLYGON(((0 0,1 0,1 1,0 0))))')",
            "ST_GeomFromText('MULTIPOINT((1 2))')",
            "ST_GeomFromText('POINT(-0 5e-324)')",
            "ST_GeomFromText('LINESTRING(0 0,1 1)', 3857)",
            "NULL",
        ],
        Server("text", "ST_AsText(c)"),
    ),
    case("LINESTRING SRID 4326", &["ST_GeomFromText('LINESTRING(1 2,-90 180)', 4326)"], LONG_LAT),
    case("POLYGON SRID 4326", &["ST_GeomFromText('POLYGON((0 0,10 0,10 20,0 0))', 4326)"], LONG_LAT),
    case("MULTIPOINT SRID 4326", &["ST_GeomFromText('MULTIPOINT(1 2,3 4)', 4326)"], LONG_LAT),
    case("MULTILINESTRING", &["ST_GeomFromText('MULTILINESTRING((0 0,1 1))')"], Server("text", "ST_AsText(c)")),
    case("MULTIPOLYGON", &["ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"], Server("text", "ST_AsText(c)")),
    case("GEOMETRYCOLLECTION", &["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')"], Server("text", "ST_AsText(c)")),
    case("POINT SRID 4326", &["ST_GeomFromText('POINT(52.5 13.4)', 4326)"], LONG_LAT),
    case(
        "VECTOR(4)",
        &["TO_VECTOR('[-0.0,1.2e-38,3.4028235e38,16777217]')"],
        Exactly(&["json [-0,1.2e-38,3.4028235e38,16777216]"]),
    ),
    case("VARCHAR(9) COLLATE utf8mb4_0900_as_cs", &["'a '", "'É'"], TEXT),
    case("CHAR(9) COLLATE utf8mb4_0900_bin", &["'a '", "'É'"], TEXT),
    case("VECTOR(3)", &["TO_VECTOR('[1.5,2,-0.1]')", "NULL"], Exactly(&["json [1.5,2,-0.1]", "null"])),
    case("VARCHAR(20) CHARACTER SET gb18030", &["'你😀é'"], TEXT),
];

const MARIADB: &[Case] = &[
    case(
        "UUID",
        &[
            "'e09235c4-e578-11f1-ad0e-02fc00000001'",
            "'019306aa-31c5-7013-b6dd-1a0e4aa1b2c3'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'6fa459ea-ee8a-4ca4-894e-db77e160355e'",
            "'6fa459ea-ee8a-6ca4-894e-db77e1603500'",
            "'6fa459ea-ee8a-8ca4-094e-db77e1600000'",
            "'12345678-1234-9abc-2234-123456789abc'",
            "'12345678-1234-1abc-0234-923456789abc'",
            "NULL",
        ],
        Server("plain", "CAST(c AS CHAR)"),
    ),
    case("INET4", &["'0.0.0.0'", "'255.255.255.255'", "'1.2.3.0'", "NULL"], Server("plain", "CAST(c AS CHAR)")),
    case(
        "INET6",
        &[
            "'::'",
            "'::1'",
            "'::102'",
            "'::1:102'",
            "'::1.2.3.4'",
            "'::ffff:1.2.3.4'",
            "'::ffff:0:1.2.3.4'",
            "'1:0:0:2:0:0:0:3'",
            "'1:0:2:3:4:5:6:7'",
            "'0:0:1:0:0:1:0:0'",
            "'fe80::1:0:0:1'",
            "'1:2:3:4:5:6:7:0'",
            "'2001:db8::'",
        ],
        Server("plain", "CAST(c AS CHAR)"),
    ),
    case("JSON", &["'{\"b\":1, \"a\" : [1.0]}'", "NULL"], TEXT),
    case(
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1.5 -2)')",
            "ST_GeomFromText('LINESTRING(0 0,1 1e-7)', 4326)",
            "ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 0),(1 1,2 1,2 2,1 1))')",
            "ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')",
            "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(1 2,3 4))')",
            "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
            "NULL",
        ],
        Server("text", "ST_AsText(c)"),
    ),
    // MariaDB itself prints this one without the inner brackets.
    case("MULTIPOINT", &["ST_GeomFromText('MULTIPOINT(1 1,2 2)')"], Exactly(&["text MULTIPOINT((1 1),(2 2))"])),
    case("VARCHAR(9) COLLATE utf8mb4_uca1400_ai_ci", &["'a '", "'É'"], TEXT),
    case("CHAR(9) COLLATE utf8mb4_uca1400_nopad_as_cs", &["'a '", "'É'"], TEXT),
];

/// The rows are inserted, moved by an update and deleted, so that each literal has four images in the log; the snapshot
/// and the server are asked before the update.
async fn check(server: &Shared, cases: &[&[Case]]) {
    let database = server.database("corpus").await;
    let mut conn = server.connect().await;
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let start = position::current(&mut conn, flavor).await.unwrap();
    for setup in ["SET NAMES utf8mb4", "SET sql_mode = '', time_zone = '+00:00'", &format!("USE {database}")] {
        conn.query_drop(setup).await.unwrap();
    }
    let cases: Vec<&Case> = cases.iter().copied().flatten().collect();
    for (number, case) in cases.iter().enumerate() {
        let ddl = format!("CREATE TABLE t{number:03} (id INT PRIMARY KEY, c {}) CHARSET utf8mb4", case.ddl);
        conn.query_drop(&ddl).await.unwrap_or_else(|error| panic!("{ddl}: {error}"));
        for (id, literal) in case.literals.iter().enumerate() {
            let insert = format!("INSERT INTO t{number:03} VALUES ({id}, {literal})");
            conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
        }
    }
    let tables = tables(&mut conn, &database).await;
    let mut reads = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let table = tables.iter().find(|table| table.name.table == format!("t{number:03}")).unwrap();
        let mapping = mapping(table);
        let from_select = snapshot(server, &mapping, &options()).await;
        let expected: Vec<String> = match case.expected {
            Exactly(cells) => cells.iter().map(|&cell| cell.to_owned()).collect(),
            Server(kind, expression) => {
                let query = format!("SELECT {expression} FROM {} ORDER BY id", table.name.quoted());
                let texts: Vec<Option<String>> = conn.query(query).await.unwrap();
                texts.into_iter().map(|text| text.map_or("null".into(), |text| format!("{kind} {text}"))).collect()
            }
        };
        assert_eq!((from_select.len(), expected.len()), (case.literals.len(), case.literals.len()), "{}", case.ddl);
        let name = table.name.quoted();
        conn.query_drop(format!("UPDATE {name} SET id = id + 1000 ORDER BY id")).await.unwrap();
        conn.query_drop(format!("DELETE FROM {name} ORDER BY id")).await.unwrap();
        reads.push((mapping, from_select, expected));
    }
    let events = log(server, start, &database).await;
    let mut failures = Vec::new();
    for (case, (mapping, from_select, expected)) in cases.iter().zip(&reads) {
        let count = case.literals.len();
        let from_log = images(&events, mapping, &options());
        assert_eq!(from_log.len(), 4 * count, "{}", case.ddl);
        for (id, literal) in case.literals.iter().enumerate() {
            let inserted = ("select", &from_select[id][1]);
            let places =
                [("insert", id), ("before", count + 2 * id), ("after", count + 2 * id + 1), ("delete", 3 * count + id)];
            let logged = places.map(|(image, at)| (image, &from_log[at][1]));
            for (from, cell) in [inserted].into_iter().chain(logged) {
                if *cell != expected[id] {
                    let short = |cell: &String| cell.chars().take(400).collect::<String>();
                    let (ddl, cell, expected) = (case.ddl, short(cell), short(&expected[id]));
                    failures.push(format!("{ddl} {literal}\n  {from}  {cell}\n  expects {expected}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} cells differ:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn mysql_values_read_the_same_from_the_select_and_the_log() {
    check(servers::mysql().await, &[BOTH, MYSQL]).await;
}

#[tokio::test]
async fn mariadb_values_read_the_same_from_the_select_and_the_log() {
    check(servers::mariadb().await, &[BOTH, MARIADB]).await;
}

/// Generated and invisible columns stand in the row images too, and key parts come first in key order.
async fn check_shapes(server: &Shared) {
    let database = server.database("shapes").await;
    let mut conn = server.connect().await;
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let start = position::current(&mut conn, flavor).await.unwrap();
    for statement in [
        &format!("USE {database}"),
        "CREATE TABLE t (a INT, v INT AS (a + 1) VIRTUAL, k2 VARCHAR(20), s INT AS (a * 2) STORED, i INT INVISIBLE \
         DEFAULT 5, k1 DECIMAL(5,2), e ENUM('x','y') NOT NULL, z INT NULL, PRIMARY KEY (k1, k2)) CHARSET latin1",
        "INSERT INTO t (a, k2, k1, e, z) VALUES (1, 'é', 1.5, 'x', NULL), (NULL, 'b', 2.5, 'y', 3)",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let tables = tables(&mut conn, &database).await;
    let events = log(server, start, &database).await;
    let mapping = mapping(&tables[0]);
    let mut from_select = snapshot(server, &mapping, &options()).await;
    let mut from_log = images(&events, &mapping, &options());
    from_select.sort();
    from_log.sort();
    assert_eq!(from_select, from_log);
    let names: Vec<&str> = mapping.target.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["k1", "k2", "a", "v", "s", "i", "e", "z"]);
    let first = ["plain 1.50", "text é", "number 1", "number 2", "number 2", "number 5", "text x", "null"];
    let second = ["plain 2.50", "text b", "null", "null", "null", "number 5", "text y", "number 3"];
    assert_eq!(from_log, [first, second]);
}

#[tokio::test]
async fn generated_and_invisible_columns_are_in_mysqls_rows() {
    check_shapes(servers::mysql().await).await;
}

#[tokio::test]
async fn generated_and_invisible_columns_are_in_mariadbs_rows() {
    check_shapes(servers::mariadb().await).await;
}

#[tokio::test]
async fn the_key_that_mysql_makes_itself_is_in_its_rows() {
    let server = servers::mysql().await;
    let database = server.database("gipk").await;
    let mut conn = open(server).await;
    let start = position::current(&mut conn, connect::Flavor::Mysql).await.unwrap();
    for statement in [
        &format!("USE {database}"),
        "SET sql_generate_invisible_primary_key = ON, show_gipk_in_create_table_and_information_schema = OFF",
        "CREATE TABLE t (v INT)",
        "INSERT INTO t VALUES (7), (NULL)",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let tables = tables(&mut conn, &database).await;
    let events = log(server, start, &database).await;
    let mapping = mapping(&tables[0]);
    let from_log = images(&events, &mapping, &options());
    assert_eq!(from_log, snapshot(server, &mapping, &options()).await);
    assert_eq!(from_log, [["number 1", "number 7"], ["number 2", "null"]]);
}
