//! Compressed bodies, inflated as they arrive.

use std::io::Write;

use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// Compressions this server can inflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Deflate,
    Zstd,
}

/// A push decoder: compressed bytes in, plain bytes out.
pub(super) enum Decompressor {
    None,
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

/// Input taken at once, so that one chunk cannot blow up to more than some megabytes.
const SLICE: usize = 16 * 1024;

impl Decompressor {
    /// # Errors
    /// When the library cannot set up its buffers.
    pub(super) fn new(compression: Compression) -> Result<Decompressor, String> {
        Ok(match compression {
            Compression::None => Decompressor::None,
            Compression::Gzip => Decompressor::Gzip(MultiGzDecoder::new(Vec::new())),
            Compression::Deflate => Decompressor::Deflate(ZlibDecoder::new(Vec::new())),
            Compression::Zstd => Decompressor::Zstd(Box::new(
                zstd::stream::write::Decoder::new(Vec::new()).map_err(|error| error.to_string())?,
            )),
        })
    }

    /// Inflates a chunk; `plain` gets the pieces.
    ///
    /// # Errors
    /// Broken input, or what `plain` says.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        plain: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Decompressor::None = self {
            return plain(chunk);
        }
        for slice in chunk.chunks(SLICE) {
            let written = match self {
                Decompressor::None => Ok(()),
                Decompressor::Gzip(writer) => writer.write_all(slice).and_then(|()| writer.flush()),
                Decompressor::Deflate(writer) => writer.write_all(slice).and_then(|()| writer.flush()),
                Decompressor::Zstd(writer) => writer.write_all(slice).and_then(|()| writer.flush()),
            };
            written.map_err(broken)?;
            self.drain(plain)?;
        }
        Ok(())
    }

    /// The end of the body.
    ///
    /// # Errors
    /// A body that ends in the middle of a frame, or what `plain` says.
    pub(super) fn finish(&mut self, plain: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let finished = match self {
            Decompressor::None => Ok(()),
            Decompressor::Gzip(writer) => writer.try_finish(),
            Decompressor::Deflate(writer) => writer.try_finish(),
            Decompressor::Zstd(writer) => writer.flush(),
        };
        finished.map_err(broken)?;
        self.drain(plain)
    }

    fn drain(&mut self, plain: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let buffer = match self {
            Decompressor::None => return Ok(()),
            Decompressor::Gzip(writer) => writer.get_mut(),
            Decompressor::Deflate(writer) => writer.get_mut(),
            Decompressor::Zstd(writer) => writer.get_mut(),
        };
        let result = if buffer.is_empty() { Ok(()) } else { plain(buffer) };
        buffer.clear();
        result
    }
}

// The message is the io error's alone.
#[allow(clippy::needless_pass_by_value)]
fn broken(error: std::io::Error) -> String {
    format!("Failed to decompress the body: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(compression: Compression, body: &[u8], chunk: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut decompressor = Decompressor::new(compression)?;
        let mut take = |plain: &[u8]| {
            out.extend_from_slice(plain);
            Ok(())
        };
        for chunk in body.chunks(chunk) {
            decompressor.feed(chunk, &mut take)?;
        }
        decompressor.finish(&mut take)?;
        Ok(out)
    }

    #[test]
    fn bodies_are_inflated_across_chunks() {
        let plain = b"1,a\n2,b\n".repeat(500);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::stream::encode_all(&plain[..], 1).unwrap();
        for chunk in [1, 7, 10_000] {
            assert_eq!(inflate(Compression::Gzip, &gzip, chunk).unwrap(), plain);
            assert_eq!(inflate(Compression::Zstd, &zstd, chunk).unwrap(), plain);
        }
        assert!(inflate(Compression::Gzip, b"no gzip at all", 100).is_err());
    }
}
