//! A time zone as MySQL writes it: `+02:00`, or a name of the IANA database.

use jiff::tz::{Offset, TimeZone};

/// Offsets may be `-13:59` to `+14:00`, as in MySQL. `Err` says what is wrong.
pub(crate) fn parse(text: &str) -> Result<TimeZone, String> {
    if let Some(sign) = text.chars().next().filter(|first| matches!(first, '+' | '-')) {
        let minutes = text[1..].split_once(':').and_then(|(hours, minutes)| {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let well = (1..=2).contains(&hours.len()) && minutes.len() == 2 && digits(hours) && digits(minutes);
            let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
            (well && minutes < 60).then_some(hours * 60 + minutes)
        });
        let signed = minutes.map(|minutes| if sign == '-' { -minutes } else { minutes });
        return match signed {
            Some(minutes @ -839..=840) => match Offset::from_seconds(minutes * 60) {
                Ok(offset) => Ok(TimeZone::fixed(offset)),
                Err(error) => Err(error.to_string()),
            },
            _ => Err(format!("{text:?} must be an offset from -13:59 to +14:00, such as +02:00")),
        };
    }
    TimeZone::get(text).map_err(|_| {
        let near = super::reader::nearest(
            text,
            jiff::tz::db().available().map(|name| name.to_string()).collect::<Vec<_>>().iter().map(String::as_str),
        )
        .map(|near| format!("; did you mean {near}?"));
        format!("{text:?} is no time zone, write +02:00 or Europe/Berlin{}", near.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_names() {
        let at = |text: &str| {
            let zone = parse(text).unwrap();
            zone.to_offset(jiff::Timestamp::from_second(1_750_000_000).unwrap()).seconds()
        };
        assert_eq!(at("+02:00"), 7200);
        assert_eq!(at("-05:30"), -19_800);
        assert_eq!(at("+14:00"), 50_400);
        assert_eq!(at("Asia/Shanghai"), 28_800);
        assert_eq!(at("UTC"), 0);
    }

    #[test]
    fn what_is_no_zone_is_told() {
        for text in ["+15:00", "-14:00", "+2", "+02:60", "", "Mars/Olympus", "+0x:00"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("Europe/Berlim").unwrap_err(),
            "\"Europe/Berlim\" is no time zone, write +02:00 or Europe/Berlin; did you mean Europe/Berlin?"
        );
    }
}
