//! Geometry: the server's four bytes of SRID and WKB, as WKT.
//!
//! Coordinates stand in the order in which they are stored (x y, that is longitude latitude), as
//! `ST_AsText(g, 'axis-order=long-lat')` prints them: the order that `ST_AsText(g)` uses for a geographic SRID would
//! need the server's catalogue of reference systems. The SRID itself has no place in WKT.

use super::ValueError;
use super::number::double;

/// Collections may hold collections; nobody nests them deeper.
const MAX_DEPTH: usize = 64;

const NAMES: [&str; 7] =
    ["POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"];

/// Appends the WKT of a stored geometry to `out`.
pub(crate) fn print(stored: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut reader = Reader { bytes: stored, little_endian: true };
    let done = reader.take(4).and_then(|_| reader.geometry(out, true, 0));
    match done {
        Some(()) if reader.bytes.is_empty() => Ok(()),
        _ => Err(ValueError::new("a geometry that is damaged or of an unknown type")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    little_endian: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// One geometry with its byte order and type; `named` puts the type's name before it.
    fn geometry(&mut self, out: &mut Vec<u8>, named: bool, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.little_endian = match self.take(1)?[0] {
            0 => false,
            1 => true,
            _ => return None,
        };
        let kind = self.number()?;
        let name = NAMES.get((kind as usize).checked_sub(1)?)?;
        if named {
            out.extend_from_slice(name.as_bytes());
        }
        match kind {
            1 => {
                out.push(b'(');
                self.coordinates(out)?;
                out.push(b')');
                Some(())
            }
            2 => self.list(out, Self::coordinates),
            3 => self.list(out, |reader, out| reader.list(out, Self::coordinates)),
            7 => {
                if matches!(self.bytes.first_chunk::<4>(), Some([0, 0, 0, 0])) {
                    out.extend_from_slice(b" EMPTY");
                    return self.number().map(drop);
                }
                self.list(out, |reader, out| reader.geometry(out, true, depth + 1))
            }
            _ => self.list(out, |reader, out| reader.geometry(out, false, depth + 1)),
        }
    }

    fn list(&mut self, out: &mut Vec<u8>, item: impl Fn(&mut Self, &mut Vec<u8>) -> Option<()>) -> Option<()> {
        let little_endian = self.little_endian;
        out.push(b'(');
        for index in 0..self.number()? {
            if index > 0 {
                out.push(b',');
            }
            item(self, out)?;
            self.little_endian = little_endian;
        }
        out.push(b')');
        Some(())
    }

    fn coordinates(&mut self, out: &mut Vec<u8>) -> Option<()> {
        for separator in [Some(b' '), None] {
            let bytes = self.take(8)?.try_into().ok()?;
            let value = if self.little_endian { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
            out.extend_from_slice(double(value)?.as_bytes());
            out.extend(separator);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_prints_in_stored_order() {
        let mut stored = vec![0xe6, 0x10, 0, 0, 1, 1, 0, 0, 0];
        stored.extend_from_slice(&13.4f64.to_le_bytes());
        stored.extend_from_slice(&52.5f64.to_le_bytes());
        let mut out = Vec::new();
        print(&stored, &mut out).unwrap();
        assert_eq!(out, b"POINT(13.4 52.5)");
        stored.pop();
        assert!(print(&stored, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_geometry_or_an_error(kind in 0u8..9, bytes: Vec<u8>) {
            let mut stored = vec![0, 0, 0, 0, 1, kind, 0, 0, 0];
            stored.extend_from_slice(&bytes);
            let mut out = Vec::new();
            let _ = print(&stored, &mut out);
            prop_assert!(out.len() < 64 + 64 * stored.len());
        }
    }
}
