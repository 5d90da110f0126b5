//! What the source's server is, and how it is set up.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use mysql_async::Conn;

use super::{select, text};
use crate::config::zone;
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    Mysql,
    Mariadb,
}

/// The server's version and the settings that decide how its binlog and catalogue read.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    pub flavor: Flavor,
    pub version: (u16, u16, u16),
    /// As the server tells it: `10.11.19-MariaDB-log`.
    pub version_text: String,
    /// MySQL.
    pub server_uuid: Option<String>,
    pub server_id: u32,
    /// Other than 0: names are compared without case.
    pub lower_case_table_names: u8,
    /// MySQL with `gtid_mode` ON (or ON_PERMISSIVE); MariaDB always has GTIDs.
    pub gtids: bool,
    /// `@@global.time_zone`: `SYSTEM`, `+02:00`, `Europe/Berlin`.
    pub time_zone: String,
    /// The abbreviation of the server's host's zone.
    pub system_time_zone: String,
    /// Seconds the host's zone was ahead of UTC, at the starts of January and July of 1970 to 2037.
    system_offsets: Vec<i32>,
    /// The other settings we read, by lower-case name; those the server does not know are absent.
    variables: HashMap<String, String>,
}

/// Variables of MySQL and MariaDB, old names and new.
const VARIABLES: &[&str] = &[
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "expire_logs_days",
    "explicit_defaults_for_timestamp",
    "gtid_mode",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "server_id",
    "server_uuid",
    "system_time_zone",
    "time_zone",
    "version",
    "version_comment",
];

/// Asks the server what it is.
pub async fn server_info(conn: &mut Conn) -> Result<ServerInfo> {
    let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
    let statement = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(","));
    let rows = select(conn, "reading its settings", &statement).await?;
    let mut variables: HashMap<String, String> =
        rows.iter().map(|row| (text(row, 0).to_lowercase(), text(row, 1))).collect();
    let mut take = |name: &str| variables.remove(name).unwrap_or_default();
    let version_text = take("version");
    let comment = take("version_comment");
    let mariadb = [&version_text, &comment].iter().any(|text| text.to_lowercase().contains("mariadb"));
    let flavor = if mariadb { Flavor::Mariadb } else { Flavor::Mysql };
    let server_uuid = Some(take("server_uuid")).filter(|uuid| !uuid.is_empty());
    let gtid_mode = take("gtid_mode");
    let mut info = ServerInfo {
        flavor,
        version: version(&version_text),
        version_text,
        server_uuid,
        server_id: take("server_id").parse().unwrap_or_default(),
        lower_case_table_names: take("lower_case_table_names").parse().unwrap_or_default(),
        gtids: mariadb || matches!(gtid_mode.as_str(), "ON" | "ON_PERMISSIVE"),
        time_zone: take("time_zone"),
        system_time_zone: take("system_time_zone"),
        system_offsets: Vec::new(),
        variables,
    };
    info.system_offsets = system_offsets(conn).await?;
    Ok(info)
}

impl ServerInfo {
    /// A setting's value; `None` when this server has no such setting.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Tells which server a position in its log belongs to.
    pub(crate) fn identity(&self) -> String {
        match &self.server_uuid {
            Some(uuid) => uuid.clone(),
            // MariaDB has no uuid.
            None => format!("server_id {}", self.server_id),
        }
    }

    /// How long the server keeps its binlog; `None`: for ever, as far as its settings tell.
    pub(crate) fn retention(&self) -> Option<Duration> {
        let number = |name: &str| self.variable(name).and_then(|text| text.parse::<f64>().ok()).filter(|&n| n > 0.0);
        let days = || number("expire_logs_days").map(|days| days * 86_400.0);
        number("binlog_expire_logs_seconds").or_else(days).map(Duration::from_secs_f64)
    }

    /// `MySQL 9.7.4`, `MariaDB 10.11.19`
    pub fn product(&self) -> String {
        let name = match self.flavor {
            Flavor::Mysql => "MySQL",
            Flavor::Mariadb => "MariaDB",
        };
        let (major, minor, patch) = self.version;
        format!("{name} {major}.{minor}.{patch}")
    }
}

/// The numbers in `9.7.4-2`, `5.5.5-10.11.19-MariaDB` (old replication prefix).
fn version(text: &str) -> (u16, u16, u16) {
    let text = match text.strip_prefix("5.5.5-") {
        Some(rest) if rest.contains("MariaDB") => rest,
        _ => text,
    };
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u16>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next(), next())
}

/// The instants that `system_offsets` is asked for: (the text in UTC, seconds since 1970).
fn probes() -> Vec<(String, i64)> {
    let mut probes = Vec::new();
    for year in 1970..=2037_i16 {
        for month in [1_i8, 7] {
            let noon = jiff::civil::date(year, month, 2).at(12, 0, 0, 0);
            if let Ok(zoned) = noon.to_zoned(TimeZone::UTC) {
                probes.push((noon.strftime("%Y-%m-%d %H:%M:%S").to_string(), zoned.timestamp().as_second()));
            }
        }
    }
    probes
}

/// An abbreviation such as CST names several zones, so the server is asked what its host's zone does.
async fn system_offsets(conn: &mut Conn) -> Result<Vec<i32>> {
    let offsets: Vec<String> = probes()
        .iter()
        .map(|(utc, _)| format!("IFNULL(TIMESTAMPDIFF(SECOND, '{utc}', CONVERT_TZ('{utc}', '+00:00', 'SYSTEM')), 0)"))
        .collect();
    let statement = format!("SELECT CONCAT_WS(',', {})", offsets.join(", "));
    let rows = select(conn, "reading its time zone", &statement).await?;
    let list = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    Ok(list.split(',').filter_map(|offset| offset.parse().ok()).collect())
}

/// The zone in which TIMESTAMP values are written: `configured` (`source.timezone`), else the server's.
///
/// # Errors
/// *Definite* when the server's zone is its host's and that zone's offset changes over the years: its
/// abbreviation does not say which zone it is. The hint names zones that agree with it.
pub fn source_zone(info: &ServerInfo, configured: Option<&str>) -> Result<TimeZone> {
    if let Some(configured) = configured {
        return zone::parse(configured).map_err(|message| Error::usage(format!("source.timezone: {message}")));
    }
    if !info.time_zone.eq_ignore_ascii_case("SYSTEM") {
        return zone::parse(&info.time_zone).map_err(|_| {
            Error::definite(format!("the source's time_zone {:?} is not known here", info.time_zone))
                .hint("set source.timezone to a name such as Europe/Berlin, or to an offset such as +02:00")
        });
    }
    if let Some((first, rest)) = info.system_offsets.split_first()
        && rest.iter().all(|offset| offset == first)
    {
        let offset = Offset::from_seconds(*first).map_err(|error| Error::definite(error.to_string()))?;
        return Ok(if *first == 0 { TimeZone::UTC } else { TimeZone::fixed(offset) });
    }
    let candidates = agreeing_zones(&info.system_offsets, &info.system_time_zone);
    let such = match candidates.as_slice() {
        [] => "such as Europe/Berlin".to_owned(),
        some => format!("one that agrees with it is {}", some.join(" or ")),
    };
    Err(Error::definite(format!(
        "the source's time zone is its host's ({}), and that does not say which zone it is",
        info.system_time_zone
    ))
    .hint(format!("set source.timezone; {such}")))
}

/// Zones with the same offsets at all probes. Of aliases only the name of a city is given.
fn agreeing_zones(offsets: &[i32], abbreviation: &str) -> Vec<String> {
    let probes = probes();
    let agrees = |zone: &TimeZone| {
        probes.len() == offsets.len()
            && probes.iter().zip(offsets).all(|((_, seconds), offset)| {
                jiff::Timestamp::from_second(*seconds)
                    .is_ok_and(|timestamp| zone.to_offset(timestamp).seconds() == *offset)
            })
    };
    let mut found: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    for name in jiff::tz::db().available() {
        let name = name.to_string();
        let Ok(zone) = TimeZone::get(&name) else { continue };
        if name.contains('/') && !name.starts_with("Etc/") && agrees(&zone) {
            let same = probes.iter().any(|(_, seconds)| {
                jiff::Timestamp::from_second(*seconds)
                    .is_ok_and(|timestamp| zone.to_offset_info(timestamp).abbreviation() == abbreviation)
            });
            found.entry(!same).or_default().push(name);
        }
    }
    found.into_values().flatten().take(3).collect()
}

#[cfg(test)]
impl ServerInfo {
    pub(crate) fn sample() -> ServerInfo {
        tests::info("SYSTEM", "UTC", "UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn info(time_zone: &str, system: &str, offsets_of: &str) -> ServerInfo {
        let zone = TimeZone::get(offsets_of).unwrap();
        let system_offsets = probes()
            .iter()
            .map(|(_, seconds)| zone.to_offset(jiff::Timestamp::from_second(*seconds).unwrap()).seconds())
            .collect();
        ServerInfo {
            flavor: Flavor::Mysql,
            version: (9, 7, 0),
            version_text: "9.7.0".to_owned(),
            server_uuid: None,
            server_id: 1,
            lower_case_table_names: 0,
            gtids: true,
            time_zone: time_zone.to_owned(),
            system_time_zone: system.to_owned(),
            system_offsets,
            variables: HashMap::new(),
        }
    }

    #[test]
    fn versions_of_both_products() {
        assert_eq!(version("9.7.4-2"), (9, 7, 4));
        assert_eq!(version("5.5.5-10.11.19-MariaDB-0+deb12u1-log"), (10, 11, 19));
        assert_eq!(version("10.11.19-MariaDB"), (10, 11, 19));
        assert_eq!(version("8.0"), (8, 0, 0));
    }

    #[test]
    fn a_configured_zone_wins_and_a_named_one_is_taken() {
        let info = info("Asia/Tokyo", "CET", "Europe/Berlin");
        assert_eq!(source_zone(&info, None).unwrap().iana_name(), Some("Asia/Tokyo"));
        assert_eq!(source_zone(&info, Some("Europe/Paris")).unwrap().iana_name(), Some("Europe/Paris"));
    }

    #[test]
    fn a_host_zone_that_never_changes_is_its_offset() {
        let offset = |system: &str, zone: &str| {
            let zone = source_zone(&info("SYSTEM", system, zone), None).unwrap();
            zone.to_offset(jiff::Timestamp::now()).seconds()
        };
        assert_eq!(offset("UTC", "UTC"), 0);
        assert_eq!(offset("IST", "Asia/Kolkata"), 19_800);
    }

    #[test]
    fn a_host_zone_with_summer_time_must_be_named() {
        for (system, zone) in [("CET", "Europe/Berlin"), ("GMT", "Europe/London"), ("CST", "Asia/Shanghai")] {
            let error = source_zone(&info("SYSTEM", system, zone), None).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Definite);
            let text = error.to_string();
            assert!(
                text.contains(&format!("({system})")) && text.contains("source.timezone; one that agrees"),
                "{text}"
            );
        }
    }
}
