//! What SHOW GRANTS says a user may do.
//!
//! Only what can be read with certainty is held against the user: a role, or a grant worded in another way,
//! may hold the privilege, and then nothing is missing as far as we know.

use super::sql::Rows;

/// Privileges on every table of a database that a job needs.
const ON_TABLES: [&str; 3] = ["SELECT", "INSERT", "ALTER"];

/// One `GRANT … ON … TO …`.
struct Grant {
    privileges: Vec<String>,
    /// On tables, or on databases themselves.
    on_tables: bool,
    /// `None`: every database.
    database: Option<String>,
}

/// The privileges on `database` that no grant gives, worded for a message: `INSERT on its tables`.
pub(super) fn missing(grants: &Rows, database: &str) -> Vec<String> {
    let texts: Vec<&str> = grants.iter().flat_map(|row| row.cells().collect::<Vec<_>>()).collect();
    missing_in(&texts, database)
}

fn missing_in(texts: &[&str], database: &str) -> Vec<String> {
    let mut grants = Vec::new();
    for text in texts.iter().filter(|text| starts_with(text, "GRANT ")) {
        match read(text) {
            Read::Grant(grant) => grants.push(grant),
            // A single table, or something that is not data: it does not decide.
            Read::Other => {}
            Read::Unclear => return Vec::new(),
        }
    }
    let given = |privilege: &str, on_tables: bool| {
        grants.iter().any(|grant| {
            grant.on_tables == on_tables
                && grant.database.as_deref().is_none_or(|name| name == database)
                && grant
                    .privileges
                    .iter()
                    .any(|given| given == privilege || given == "ALL" || given == "ALL PRIVILEGES")
        })
    };
    let mut missing: Vec<String> = ON_TABLES
        .iter()
        .filter(|privilege| !given(privilege, true))
        .map(|privilege| format!("{privilege} on its tables"))
        .collect();
    if !given("CREATE TABLE", false) {
        missing.push("CREATE TABLE on the database".to_owned());
    }
    missing
}

enum Read {
    Grant(Grant),
    Other,
    Unclear,
}

fn read(text: &str) -> Read {
    let upper = text.to_uppercase();
    // `GRANT 'role' TO …`: the role may hold anything.
    let Some(on) = upper.find(" ON ") else { return Read::Unclear };
    let Some(to) = upper.rfind(" TO ").filter(|to| *to > on) else { return Read::Unclear };
    // Upper-casing moves offsets only in texts with letters beyond ASCII.
    if upper.len() != text.len() || !text.is_ascii() {
        return Read::Unclear;
    }
    let privileges = upper[6..on].split(',').map(|privilege| privilege.trim().to_owned()).collect();
    let object = text[on + 4..to].trim();
    let (on_tables, database) = if let Some(rest) = strip(object, "ALL TABLES IN DATABASE ") {
        (true, Some(rest))
    } else if strip(object, "ALL TABLES IN ALL DATABASES").is_some() {
        (true, None)
    } else if strip(object, "ALL DATABASES").is_some() {
        (false, None)
    } else if let Some(rest) = strip(object, "DATABASE ") {
        (false, Some(rest))
    } else if strip(object, "TABLE ").is_some() {
        // One table of the database may be all that the job has.
        return Read::Unclear;
    } else {
        return Read::Other;
    };
    let database = database.map(|name| name.trim().trim_matches('`').to_owned());
    Read::Grant(Grant { privileges, on_tables, database })
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    starts_with(text, prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_hold_anything() {
        assert!(missing_in(&["GRANT 'root', 'testrole' TO 'root'@'%'"], "shop").is_empty());
    }

    #[test]
    fn what_no_grant_gives_is_missing() {
        let grants = ["'u'@'%'", "default", "GRANT SELECT, INSERT ON ALL TABLES IN DATABASE shop TO USER 'u'@'%'"];
        assert_eq!(missing_in(&grants, "shop"), ["ALTER on its tables", "CREATE TABLE on the database"]);
        assert_eq!(missing_in(&grants, "crm").len(), 4);
        assert_eq!(missing_in(&[], "shop").len(), 4);
    }

    #[test]
    fn grants_over_all_databases_count() {
        let grants = [
            "GRANT ALL ON ALL TABLES IN ALL DATABASES TO USER 'u'@'%'",
            "GRANT CREATE TABLE, DROP ON ALL DATABASES TO USER 'u'@'%'",
            "GRANT OPERATE ON SYSTEM TO USER 'u'@'%'",
        ];
        assert!(missing_in(&grants, "shop").is_empty());
    }

    #[test]
    fn grants_on_single_tables_or_worded_otherwise_are_not_held_against_the_user() {
        assert!(missing_in(&["GRANT SELECT ON TABLE shop.t TO USER 'u'@'%'"], "shop").is_empty());
        assert!(missing_in(&["GRANT Load_priv"], "shop").is_empty());
    }
}
