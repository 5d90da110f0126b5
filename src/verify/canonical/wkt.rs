//! Geometries as well-known text.

use super::double;

/// Keywords in upper case, no blanks but between coordinates, points of a MULTIPOINT without parentheses of their own
/// (servers differ), numbers by their bits.
pub(super) fn canonical(text: &str, digits: Option<u8>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut depth = 0_u32;
    // Depth at which a MULTIPOINT's own parenthesis is.
    let mut multipoint: Option<u32> = None;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | ',' => 1,
            _ if first.is_whitespace() => first.len_utf8(),
            _ => rest.find(|c: char| c.is_whitespace() || "(),".contains(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            '(' => {
                depth += 1;
                if multipoint.is_none_or(|level| depth <= level) {
                    out.push('(');
                }
            }
            ')' => {
                if multipoint.is_none_or(|level| depth <= level) {
                    out.push(')');
                }
                depth = depth.saturating_sub(1);
                if multipoint.is_some_and(|level| depth < level) {
                    multipoint = None;
                }
            }
            ',' => out.push(','),
            _ if first.is_whitespace() => {}
            _ => {
                if out.chars().next_back().is_some_and(|last| !"(),".contains(last)) {
                    out.push(' ');
                }
                match token.parse::<f64>() {
                    Ok(value) => out.push_str(&double(value, digits)),
                    Err(_) => {
                        let keyword = token.to_ascii_uppercase();
                        if keyword == "MULTIPOINT" {
                            multipoint = Some(depth + 1);
                        }
                        // MySQL's second name for the same.
                        out.push_str(if keyword == "GEOMCOLLECTION" { "GEOMETRYCOLLECTION" } else { &keyword });
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Meaning;
    use super::super::tests::same;

    #[test]
    fn well_known_text_is_equal_whatever_its_layout() {
        assert!(same(Meaning::Wkt, "MULTIPOINT((0 0),(1.50 1))", "multipoint (0 0, 1.5 1)"));
        assert!(same(
            Meaning::Wkt,
            "GEOMETRYCOLLECTION(MULTIPOINT((1 1)),POINT(2 3))",
            "GEOMCOLLECTION(MULTIPOINT(1 1),POINT(2 3))"
        ));
        assert!(!same(Meaning::Wkt, "POINT(1 2)", "POINT(2 1)"));
        assert!(!same(Meaning::Wkt, "POLYGON((0 0,1 1),(2 2,3 3))", "POLYGON((0 0,1 1,2 2,3 3))"));
    }
}
