//! The server's first packet.
//!
//! ```text
//! 10 | version, 0 | connection 4 | challenge 8 | 0 | capabilities 2 | collation 1 | status 2 | capabilities 2
//!    | challenge's length 1 | 10 reserved | rest of the challenge, 0 | plugin, 0
//! ```
//! (MySQL's `Protocol_HandshakeV10`; `mysql_common`'s reader of it overflows on some lengths.)

use bytes::Buf as _;
use mysql_async::Result;
use mysql_common::constants::CapabilityFlags;

#[derive(Debug)]
pub(super) struct Greeting {
    /// `(10, 11, 19)`
    pub(super) version: (u16, u16, u16),
    pub(super) connection_id: u32,
    pub(super) capabilities: CapabilityFlags,
    /// Random bytes that the password is mixed with: 20 of every server since 4.1.
    pub(super) challenge: Vec<u8>,
    /// The authentication plugin that the server takes for the usual one.
    pub(super) plugin: Vec<u8>,
}

impl Greeting {
    pub(super) fn read(packet: &[u8]) -> Result<Greeting> {
        fields(packet).ok_or_else(|| super::malformed("the server's greeting cannot be read"))
    }
}

fn fields(mut packet: &[u8]) -> Option<Greeting> {
    if packet.try_get_u8().ok()? != 10 {
        return None;
    }
    let version = until_zero(&mut packet)?;
    let connection_id = packet.try_get_u32_le().ok()?;
    let mut challenge = packet.split_off(..8)?.to_vec();
    packet.split_off(..1)?;
    let mut capabilities = u32::from(packet.try_get_u16_le().ok()?);
    // Collation and status.
    packet.split_off(..3)?;
    capabilities |= u32::from(packet.try_get_u16_le().ok()?) << 16;
    let length = usize::from(packet.try_get_u8().ok()?);
    packet.split_off(..10)?;
    let capabilities = CapabilityFlags::from_bits_truncate(capabilities);
    if capabilities.contains(CapabilityFlags::CLIENT_SECURE_CONNECTION) {
        challenge.extend_from_slice(packet.split_off(..length.saturating_sub(8).max(13))?);
        if challenge.last() == Some(&0) {
            challenge.pop();
        }
    }
    let mut plugin = Vec::new();
    if capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH) {
        // Some servers leave the zero out.
        plugin = until_zero(&mut packet).unwrap_or(packet).to_vec();
    }
    Some(Greeting { version: numbers(version), connection_id, capabilities, challenge, plugin })
}

/// The bytes before the next zero.
pub(super) fn until_zero<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let before = bytes.split_off(..end)?;
    bytes.split_off(..1)?;
    Some(before)
}

/// MariaDB puts `5.5.5-` before its own for replicas that know no 10.
fn numbers(version: &[u8]) -> (u16, u16, u16) {
    let text = String::from_utf8_lossy(version);
    let text = text.strip_prefix("5.5.5-").unwrap_or(&text);
    let mut numbers = text.split(|sign: char| !sign.is_ascii_digit()).map(|number| number.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next(), next())
}

#[cfg(test)]
pub(super) use tests::{MARIADB, MYSQL};

#[cfg(test)]
mod tests {
    use super::*;

    /// As MySQL 9.7 and MariaDB 10.11 send them.
    pub(crate) const MYSQL: &[u8] = b"\x0a9.7.0\0\x08\0\0\0\x3b]{\x01\x23\x04\x12\x49\0\xff\xff\xff\x02\0\xff\xdf\x15\
        \0\0\0\0\0\0\0\0\0\0\x4e\x3a\x7f\x12\x31\x01\x55\x5c\x19\x3f\x44\x61\0caching_sha2_password\0";
    pub(crate) const MARIADB: &[u8] =
        b"\x0a5.5.5-10.11.19-MariaDB-log\0\x29\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\
        \0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";

    #[test]
    fn both_products_greetings_are_read() {
        let mysql = Greeting::read(MYSQL).unwrap();
        assert_eq!((mysql.version, mysql.connection_id, mysql.challenge.len()), ((9, 7, 0), 8, 20));
        assert_eq!(mysql.plugin, b"caching_sha2_password");
        assert!(mysql.capabilities.contains(CapabilityFlags::CLIENT_SSL));
        let mariadb = Greeting::read(MARIADB).unwrap();
        assert_eq!((mariadb.version, mariadb.connection_id), ((10, 11, 19), 41));
        assert_eq!(
            (&mariadb.challenge[..], &mariadb.plugin[..]),
            (&b"abcdefghijklmnopqrst"[..], &b"mysql_native_password"[..])
        );
        assert!(!mariadb.capabilities.contains(CapabilityFlags::CLIENT_SSL));
    }

    #[test]
    fn a_greeting_that_is_cut_is_refused() {
        for end in 0..MYSQL.len() - 22 {
            assert!(Greeting::read(&MYSQL[..end]).is_err(), "{end}");
        }
        assert!(Greeting::read(b"\x09old").is_err());
    }
}
