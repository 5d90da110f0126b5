//! The server's RSA key, under which a password travels where there is no TLS.
//!
//! The server sends it as PEM: PKCS #8 (`PUBLIC KEY`), or PKCS #1 (`RSA PUBLIC KEY`). The encryption itself
//! (OAEP, SHA-1) is `mysql_common`'s; its reader of the key panics on one that is not as it should be.

use base64::Engine as _;
use mysql_async::Result;
use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use num_bigint::BigUint;

/// What OAEP with SHA-1 takes of the key's length.
const PADDING: usize = 42;
/// In bits. More would take long, and is no key of a server.
const MOST_BITS: u64 = 16_384;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// `secret` under the key `pem`.
pub(super) fn encrypt(secret: &[u8], pem: &[u8]) -> Result<Vec<u8>> {
    let (modulus, exponent) = key(pem).ok_or_else(|| super::malformed("the server's public key cannot be read"))?;
    let key = PublicKey::new(modulus, exponent);
    if secret.len() + PADDING > key.num_octets() {
        return Err(super::malformed("the password is longer than the server's public key can carry"));
    }
    Ok(key.encrypt_block(secret, Pkcs1OaepPadding::new(GetRandom)))
}

fn key(pem: &[u8]) -> Option<(BigUint, BigUint)> {
    let pem = std::str::from_utf8(pem).ok()?.trim_matches(['\0', '\n', '\r', ' ']);
    let (kind, rest) = pem.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    let mut numbers = match kind {
        "RSA PUBLIC KEY" => part(&mut &der[..], SEQUENCE)?,
        "PUBLIC KEY" => {
            let mut whole = part(&mut &der[..], SEQUENCE)?;
            part(&mut whole, SEQUENCE)?;
            let mut bits = part(&mut whole, BIT_STRING)?.strip_prefix(&[0])?;
            part(&mut bits, SEQUENCE)?
        }
        _ => return None,
    };
    let modulus = BigUint::from_bytes_be(part(&mut numbers, INTEGER)?);
    let exponent = BigUint::from_bytes_be(part(&mut numbers, INTEGER)?);
    (modulus.bit(0) && modulus.bits() <= MOST_BITS && exponent.bits() <= 64).then_some((modulus, exponent))
}

/// The contents of the next element, which must be a `tag`.
fn part<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    if *der.split_off_first()? != tag {
        return None;
    }
    let length = match *der.split_off_first()? {
        short @ 0..=0x7f => usize::from(short),
        long => {
            let digits = der.split_off(..usize::from(long & 0x7f))?;
            if digits.len() > 4 {
                return None;
            }
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
        }
    };
    der.split_off(..length)
}

#[cfg(test)]
pub(super) use tests::PKCS8;

#[cfg(test)]
mod tests {
    use super::*;

    /// 512 bits, far too few for a real one.
    pub(crate) const PKCS8: &str = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALb2dcyB50716OJdlA7ZBHWVMZhdXZ3J\n+BgY6BGJL5Ar0j8IJBKLLzMMXH/QpqOkUGUTJw4mng038qdN5FLmtDkCAwEAAQ==\n-----END PUBLIC KEY-----\n";
    /// The same.
    const PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----\nMEgCQQC29nXMgedO9ejiXZQO2QR1lTGYXV2dyfgYGOgRiS+QK9I/CCQSiy8zDFx/\n0KajpFBlEycOJp4NN/KnTeRS5rQ5AgMBAAE=\n-----END RSA PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_read_and_a_secret_that_it_cannot_carry_is_refused() {
        let (modulus, exponent) = key(PKCS8.as_bytes()).unwrap();
        assert_eq!(key(PKCS1.as_bytes()), Some((modulus.clone(), exponent.clone())));
        assert_eq!((modulus.bits(), exponent), (512, BigUint::from(65_537_u32)));
        assert_eq!(encrypt(b"secret", PKCS8.as_bytes()).unwrap().len(), 64);
        assert!(encrypt(&[7; 23], PKCS8.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "PUBLIC KEY", "-----BEGIN PUBLIC KEY-----\nMFww\n-----END PUBLIC KEY-----", "\0\u{1}\u{2}"] {
            assert!(encrypt(b"secret", wrong.as_bytes()).is_err(), "{wrong}");
        }
        // An even number is no product of two primes.
        let even = PKCS1.replace("eRS5rQ5Ag", "eRS5rQ4Ag");
        assert!(even != PKCS1 && encrypt(b"secret", even.as_bytes()).is_err());
    }
}
