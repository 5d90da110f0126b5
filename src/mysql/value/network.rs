//! MariaDB's UUID, INET4 and INET6 as the server prints them, and MySQL's vectors.

use super::ValueError;
use super::number::float;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

/// The bytes in the order of the text, from those of a row image.
///
/// MariaDB stores the versions 1 to 5 with their five groups in reverse order, so that they sort by time
/// (`sql_type_uuid.h`); a variant bit and a version from 1 to 5, at their stored places, tell which it is.
pub(crate) fn uuid_from_image(stored: [u8; 16]) -> [u8; 16] {
    // Stored: node 6, clock 2, time high 2, time mid 2, time low 4.
    let version = stored[8] >> 4;
    let rfc_variant = stored[6] & 0x80 != 0;
    if !(rfc_variant && stored[8] > 0 && version < 6) {
        return stored;
    }
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&stored[12..]);
    bytes[4..6].copy_from_slice(&stored[10..12]);
    bytes[6..8].copy_from_slice(&stored[8..10]);
    bytes[8..10].copy_from_slice(&stored[6..8]);
    bytes[10..].copy_from_slice(&stored[..6]);
    bytes
}

pub(crate) fn uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    let mut rest = bytes.as_slice();
    for (index, length) in [4, 2, 2, 2, 6].into_iter().enumerate() {
        if index > 0 {
            out.push(b'-');
        }
        let (group, behind) = rest.split_at(length);
        hex(group, out);
        rest = behind;
    }
}

pub(crate) fn inet4(bytes: [u8; 4], out: &mut Vec<u8>) {
    out.extend_from_slice(std::net::Ipv4Addr::from(bytes).to_string().as_bytes());
}

/// As the server prints it: the first of the longest runs of zero groups becomes `::`, a single group too (RFC 5952
/// leaves that one alone), and the addresses `::a.b.c.d` and `::ffff:a.b.c.d` end in IPv4's form.
pub(crate) fn inet6(bytes: [u8; 16], out: &mut Vec<u8>) {
    let groups: [u16; 8] = std::net::Ipv6Addr::from(bytes).segments();
    let (mut gap, mut longest) = (8, 0);
    for start in 0..8 {
        let length = groups[start..].iter().take_while(|&&group| group == 0).count();
        if length > longest {
            (gap, longest) = (start, length);
        }
    }
    let has_ipv4 = gap == 0 && (longest == 6 || (longest == 5 && groups[5] == 0xffff));
    let mut index = 0;
    while index < 8 {
        if index == gap {
            out.extend_from_slice(b"::");
            index += longest;
            continue;
        }
        if index > 0 && index != gap + longest {
            out.push(b':');
        }
        if has_ipv4 && index == 6 {
            return inet4([bytes[12], bytes[13], bytes[14], bytes[15]], out);
        }
        out.extend_from_slice(format!("{:x}", groups[index]).as_bytes());
        index += 1;
    }
}

/// `[1.5,2]` from little-endian 32-bit numbers.
pub(crate) fn vector(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (numbers, []) = bytes.as_chunks::<4>() else {
        return Err(ValueError::new("a vector whose length is no multiple of four bytes"));
    };
    out.push(b'[');
    for (index, &number) in numbers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let digits = float(f32::from_le_bytes(number));
        out.extend_from_slice(
            digits.ok_or_else(|| ValueError::new("a vector with a number that is not finite"))?.as_bytes(),
        );
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_print_as_the_server_does() {
        for address in
            ["::", "::1", "::ffff:1.2.3.4", "1:0:0:2::3", "fe80::1:0:0:1", "1::2:3:4:5:6:7", "1:2:3:4:5:6:7::"]
        {
            let bytes = address.parse::<std::net::Ipv6Addr>().unwrap().octets();
            assert_eq!(text(|out| inet6(bytes, out)), address);
        }
        let compatible = "::1.2.3.4".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(text(|out| inet6(compatible, out)), "::1.2.3.4");
        assert_eq!(text(|out| inet4([10, 0, 0, 255], out)), "10.0.0.255");
    }

    #[test]
    fn a_uuid_keeps_its_order_by_version() {
        let stored = [0x02, 0xfc, 0, 0, 0, 1, 0xad, 0x0e, 0x11, 0xf1, 0xe5, 0x78, 0xe0, 0x92, 0x35, 0xc4];
        assert_eq!(text(|out| uuid(uuid_from_image(stored), out)), "e09235c4-e578-11f1-ad0e-02fc00000001");
        let seven = [0x01, 0x93, 0x06, 0xaa, 0x31, 0xc5, 0x70, 0x13, 0xb6, 0xdd, 0x1a, 0x0e, 0x4a, 0xa1, 0xb2, 0xc3];
        assert_eq!(text(|out| uuid(uuid_from_image(seven), out)), "019306aa-31c5-7013-b6dd-1a0e4aa1b2c3");
    }

    #[test]
    fn a_vector_is_an_array_of_shortest_numbers() {
        let bytes: Vec<u8> = [1.5f32, 2.0, -0.1].iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut out = Vec::new();
        vector(&bytes, &mut out).unwrap();
        assert_eq!(out, b"[1.5,2,-0.1]");
        assert!(vector(&bytes[1..], &mut out).is_err());
    }
}
