//! What a server sends, changed at any place: nothing panics, everything ends, and no error holds the password.

use std::io::Cursor;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BufMut as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::channel::Channel;
use super::login::Login;
use super::prepared::Selecting;
use super::{answer, greeting, public_key};
use crate::fuzz_machine::{mutate, run};

const PASSWORD: &str = "correct horse battery staple";

/// After the greeting, what servers answer.
const ANSWERS: [&[u8]; 9] = [
    b"\0\0\0\x02\0\0\0",
    b"\x01\x03",
    b"\x01\x04",
    b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0",
    b"\xfemysql_native_password\0abcdefghijklmnopqrst\0",
    b"\xfeclient_ed25519\0abcdefghijklmnopqrstuvwxyz012345",
    b"\xfemysql_clear_password\0",
    b"\xff\x15\x04#28000Access denied for user 'u'@'h' (using password: YES)",
    b"\x02\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0",
];

fn packet(random: &mut StdRng, sequence: &mut u8, payload: &[u8], out: &mut Vec<u8>) {
    let length = if random.random_range(0..40) == 0 { random.random() } else { payload.len() as u32 };
    out.put_uint_le((length & 0xff_ffff).into(), 3);
    out.push(if random.random_range(0..40) == 0 { random.random() } else { *sequence });
    *sequence = sequence.wrapping_add(1);
    out.extend_from_slice(payload);
}

fn any(random: &mut StdRng) -> Vec<u8> {
    let one = ANSWERS[random.random_range(0..ANSWERS.len())];
    let key = [b"\x01", public_key::PKCS8.as_bytes()].concat();
    let one = if random.random_range(0..8) == 0 { &key } else { one };
    if random.random() { mutate(random, one, &key) } else { one.to_vec() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn fuzz_signing_in() {
    let runtime = runtime();
    let login = Login {
        host: "localhost",
        addresses: &[] as &[IpAddr],
        port: 0,
        username: "u",
        password: PASSWORD,
        tls: None,
        keepalive: Duration::ZERO,
    };
    let mut signed_in = 0;
    run("signing in", 20_000, |random| {
        let first = if random.random() { greeting::MYSQL } else { greeting::MARIADB };
        let first = if random.random_range(0..3) == 0 { mutate(random, first, ANSWERS[7]) } else { first.to_vec() };
        let mut sent = Vec::new();
        packet(random, &mut 0, &first, &mut sent);
        // Each of ours in between has a number too.
        for sequence in [2, 3, 4, 5, 6, 7, 8] {
            let sequence = if random.random_range(0..4) == 0 { sequence + 1 } else { sequence };
            let answer = any(random);
            packet(random, &mut sequence.clone(), &answer, &mut sent);
        }
        let channel = Channel::new(tokio::io::join(Cursor::new(sent), tokio::io::sink()));
        match runtime.block_on(login.sign_in(channel)) {
            Ok(_) => signed_in += 1,
            Err(error) => assert!(!format!("{error} {error:?}").contains(PASSWORD)),
        }
    });
    assert!(signed_in > 0);
}

#[test]
fn fuzz_answers() {
    let runtime = runtime();
    let good: [&[u8]; 6] = [b"\x02", ANSWERS[8], ANSWERS[8], b"\xfe\0\0\x02\0", b"\x03abc\xfb", b"\xfe\0\0\x02\0"];
    run("answers", 20_000, |random| {
        let mut sent = Vec::new();
        let mut sequence = 0;
        for payload in good {
            let payload =
                if random.random_range(0..6) == 0 { mutate(random, payload, ANSWERS[7]) } else { payload.to_vec() };
            packet(random, &mut sequence, &payload, &mut sent);
        }
        let mut channel = Channel::new(tokio::io::join(Cursor::new(sent), tokio::io::sink()));
        if let Ok(rows) = runtime.block_on(answer::rows(&mut channel)) {
            assert!(rows.len() <= 2);
        }
    });
}

/// A column of a number, one of text.
const COLUMNS: [&[u8]; 2] = [
    b"\x03def\0\0\0\x01n\0\x0c\x3f\0\x0b\0\0\0\x03\x21\0\0\0\0",
    b"\x03def\0\0\0\x01t\0\x0c\x3f\0\x0b\0\0\0\xfd\0\0\0\0\0",
];

#[test]
fn fuzz_prepared_rows() {
    const END: &[u8] = b"\xfe\0\0\x02\0";
    let prepared: [&[u8]; 4] = [b"\0\x01\0\0\0\x02\0\0\0\0\0\0", COLUMNS[0], COLUMNS[1], END];
    let long = [&[0, 0, 1, 0, 0, 0, 253, 0, 0, 1][..], &[b'x'; 1 << 16]].concat();
    let executed: [&[u8]; 7] =
        [b"\x02", COLUMNS[0], COLUMNS[1], END, b"\0\0\x07\0\0\0\x03abc", &long, b"\0\x08\x09\0\0\0"];
    let runtime = runtime();
    let mut read = 0;
    run("prepared rows", 20_000, |random| {
        let mut sent = Vec::new();
        let mut sequence = 1;
        for (at, payload) in prepared.iter().chain(&executed).chain([&END]).enumerate() {
            // Each command begins to count anew.
            sequence = if at == prepared.len() { 1 } else { sequence };
            let payload =
                if random.random_range(0..8) == 0 { mutate(random, payload, ANSWERS[7]) } else { payload.to_vec() };
            packet(random, &mut sequence, &payload, &mut sent);
        }
        let mut channel = Channel::new(tokio::io::join(Cursor::new(sent), tokio::io::sink()));
        runtime.block_on(async {
            let Ok(mut selecting) = Selecting::begin(&mut channel, "SELECT n, t FROM t").await else { return };
            while let Ok(Some(page)) = selecting.next().await {
                assert_eq!(page.rows().count(), page.count());
                assert_eq!(page.kept_rows().count(), page.count());
                read += page.rows().filter(|row| row.values().is_ok_and(|values| values.len() == 2)).count();
            }
        });
    });
    assert!(read > 0);
}

#[test]
fn fuzz_public_keys() {
    run("public keys", 2_000, |random| {
        let pem = mutate(random, public_key::PKCS8.as_bytes(), b"-----BEGIN RSA PUBLIC KEY-----MIIB");
        let _ = public_key::encrypt(&PASSWORD.as_bytes()[..20], &pem);
    });
}
