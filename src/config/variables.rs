//! `${NAME}` and `${NAME:-default}` in a value's text.
//!
//! It is done after parsing, so what a variable holds is text and never syntax. `$${` stands for `${`.

/// Replaces the variables in `text` by what `lookup` knows of them. `Err` says what is wrong, without values.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            expanded.push_str(&rest[..start]);
            expanded.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            return Err("`${` without `}`; write `$${` for a literal `${`".to_owned());
        };
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !named {
            // The text may be part of a password, so it is not shown.
            return Err("what stands in `${…}` is no name of a variable; write `$${` for a literal `${`".to_owned());
        }
        match (lookup(name), default) {
            (Some(value), Some(default)) if value.is_empty() => expanded.push_str(default),
            (Some(value), _) => expanded.push_str(&value),
            (None, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable {name} is not set; set it, or give a default: `${{{name}:-…}}`"
                ));
            }
        }
        rest = &inside[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a: '${B}'".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_escapes() {
        let expand = |text| expand(text, &lookup).unwrap();
        assert_eq!(expand("x${A}y"), "xa: '${B}'y");
        assert_eq!(expand("${NONE:-d}${EMPTY:-e}${EMPTY}."), "de.");
        assert_eq!(expand("$${A} $5 a$"), "${A} $5 a$");
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(
            expand("${NONE}", &lookup).unwrap_err(),
            "the environment variable NONE is not set; set it, or give a default: `${NONE:-…}`"
        );
        assert!(expand("${A", &lookup).is_err());
        assert!(!expand("${se cret}", &lookup).unwrap_err().contains("cret"));
    }
}
